//! What a caller said in its request about the trace that the request is part of.

/// A trace: 128 bits, never zero. Formats with shorter ids have them in the lower bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u64; 2]);

impl TraceId {
    /// The smallest.
    pub const ONE: Self = Self([0, 1]);

    /// `None` for zero, which is no trace (W3C Trace Context, section 3.2.2.3).
    #[must_use]
    pub fn new(id: u128) -> Option<Self> {
        let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(id >> 64).unwrap_or(0);
        (id != 0).then_some(Self([high, low]))
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> u128 {
        let [high, low] = self.0;
        u128::from(high) << 64 | u128::from(low)
    }
}

/// 32 lower-case hexadecimal digits.
impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.get())
    }
}

/// A span within a trace: 64 bits, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(std::num::NonZeroU64);

impl SpanId {
    /// The smallest.
    pub const ONE: Self = Self(std::num::NonZeroU64::MIN);

    /// `None` for zero, which is no span (W3C Trace Context, section 3.2.2.4).
    #[must_use]
    pub fn new(id: u64) -> Option<Self> {
        std::num::NonZeroU64::new(id).map(Self)
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// 16 lower-case hexadecimal digits.
impl std::fmt::Display for SpanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.get())
    }
}

/// How the caller said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TraceFormat {
    /// W3C Trace Context (level 1 and 2), `traceparent`.
    Traceparent,
    /// Zipkin's B3 propagation, in one header or in several.
    B3,
    /// Apache SkyWalking's cross process propagation headers protocol, version 3, `sw8`.
    Sw8,
}

impl TraceFormat {
    /// As records have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traceparent => "traceparent",
            Self::B3 => "b3",
            Self::Sw8 => "sw8",
        }
    }
}

/// The trace context of a request. Boxed where it travels: most requests have none, and what has none stays small.
///
/// `SkyWalking` names traces and spans by texts of any length; what is kept of them is a hash, which is as long as the ids of
/// the other formats and the same wherever the same text is read. So its requests are found together, but not by the
/// number that its own UI shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span: the parent of what it asked for.
    pub parent: SpanId,
    /// The caller's decision to record the trace; `None`: it left that to others.
    pub sampled: Option<bool>,
    /// How it was said.
    pub format: TraceFormat,
}
