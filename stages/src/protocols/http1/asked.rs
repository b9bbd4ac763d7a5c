//! What was asked and not answered yet: the method decides how long the answer is (RFC 9112, section 6.3).

/// Requests whose kind is remembered; of those beyond, only the number.
pub(super) const REMEMBERED: u32 = 64;

/// What matters of a method here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The answer has a body if it says so.
    Plain,
    /// The answer has none, whatever it says.
    Head,
    /// A 2xx makes the connection a tunnel.
    Connect,
    /// The answer is one to a call of gRPC-Web.
    Call,
}

/// A queue of two bits a request.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bits: u128,
    len: u32,
    /// Behind the remembered ones; taken as plain.
    beyond: u32,
}

impl Queue {
    /// True if another one would be remembered.
    pub(super) fn has_room(&self) -> bool {
        self.len < REMEMBERED && self.beyond == 0
    }

    /// No request waits for its answer.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && self.beyond == 0
    }

    pub(super) fn push(&mut self, asked: Asked) {
        if !self.has_room() {
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        let bits = match asked {
            Asked::Plain => 0_u128,
            Asked::Head => 1,
            Asked::Connect => 2,
            Asked::Call => 3,
        };
        self.bits |= bits << (2 * self.len);
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Asked> {
        if self.len == 0 {
            self.beyond = self.beyond.checked_sub(1)?;
            return Some(Asked::Plain);
        }
        let asked = match self.bits & 3 {
            1 => Asked::Head,
            2 => Asked::Connect,
            3 => Asked::Call,
            _ => Asked::Plain,
        };
        self.bits >>= 2;
        self.len -= 1;
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_counts_beyond_the_bound() {
        let mut queue = Queue::default();
        queue.push(Asked::Head);
        queue.push(Asked::Connect);
        for _ in 0..REMEMBERED {
            queue.push(Asked::Plain);
        }
        assert_eq!(queue.pop(), Some(Asked::Head));
        assert_eq!(queue.pop(), Some(Asked::Connect));
        queue.push(Asked::Head);
        let rest = std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>();
        assert_eq!(rest, vec![Asked::Plain; REMEMBERED as usize + 1], "none is lost, the last one's kind is");
    }
}
