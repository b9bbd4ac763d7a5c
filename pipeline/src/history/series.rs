//! The series of the history: a number for each, as short as they come, and its labels for as long as a step names it.
//!
//! **Invariant:** a number is given to another series only after the last step that names the first one is gone.
//!
//! Bound: bytes, told by the caller. Absent: values.

use super::block::{BUCKETS, Gain, add};
use crate::registry::{Sample, Value};
use hashbrown::HashMap;
use redtap_stages::flow::delta::Series;
use redtap_stages::metric::{Metric, Source};
use redtap_stages::time::Nanos;
use std::sync::Arc;

/// The labels of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    /// The metric.
    pub(crate) metric: Metric,
    /// Service, its namespace (empty: none), then the labels' values, in the order of `labels`.
    texts: Box<[Box<str>]>,
    /// Names of the labels that are there.
    labels: Box<[&'static str]>,
}

impl Named {
    pub(crate) fn new(metric: Metric, service: &str, namespace: &str, labels: &[(&'static str, &str)]) -> Self {
        let texts = [service, namespace].into_iter().chain(labels.iter().map(|label| label.1));
        Self { metric, texts: texts.map(Into::into).collect(), labels: labels.iter().map(|label| label.0).collect() }
    }

    fn of(series: &Series, namespace: &str) -> Self {
        let labels: Vec<(&'static str, &str)> =
            series.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self::new(series.metric, series.service.as_str(), namespace, &labels)
    }

    pub(crate) fn service(&self) -> &str {
        self.texts.first().map_or("", |text| text)
    }

    pub(crate) fn namespace(&self) -> &str {
        self.texts.get(1).map_or("", |text| text)
    }

    /// Names and values of the labels that are there.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.labels.iter().copied().zip(self.texts.iter().skip(2).map(|text| &**text))
    }

    /// The value of a label; empty without it.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels().find(|label| label.0 == name).map_or("", |label| label.1)
    }

    /// The value of the label that the metric's table says comes from there; empty without it.
    pub(crate) fn from(&self, source: Source) -> &str {
        let entry = self.metric.entry().labels.iter().find(|label| label.source == source);
        entry.map_or("", |label| self.label(label.name))
    }

    /// Bytes that it takes, with all that is kept to find it.
    fn cost(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len() + size_of::<Box<str>>() + ALLOCATION).sum();
        let labels = self.labels.len() * size_of::<&str>();
        let tables = 2 * (size_of::<Known>() + size_of::<Place>() + size_of::<(Arc<Named>, u32)>());
        texts + labels + tables + size_of::<Self>() + 3 * ALLOCATION
    }
}

/// What an allocation costs besides its bytes.
const ALLOCATION: usize = 16;

#[derive(Debug, Default)]
struct Place {
    named: Option<Arc<Named>>,
    /// Beginning of the last step that names it.
    last: i64,
}

/// A series of the registry, as it was when it was last looked at. Keeps the series alive, so that its address is not
/// used again.
#[derive(Debug)]
struct Known {
    series: Arc<Series>,
    created: Nanos,
    values: Gain,
    id: u32,
    round: u64,
}

/// All series.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    places: Vec<Place>,
    free: Vec<u32>,
    by_name: HashMap<Arc<Named>, u32, foldhash::fast::RandomState>,
    known: HashMap<usize, Known, foldhash::fast::RandomState>,
    round: u64,
    /// Something was refused in this round.
    full: bool,
    /// The same of the round before.
    was_full: bool,
    cost: usize,
}

impl Dictionary {
    /// Bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Series that it has a number for.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// By number; for readers, a copy.
    pub(super) fn names(&self) -> Vec<Option<Arc<Named>>> {
        self.places.iter().map(|place| place.named.clone()).collect()
    }

    /// Begins to look at the registry anew: what [`Self::gained`] is not asked for before [`Self::end_round`] is gone from it.
    pub(super) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.was_full = std::mem::take(&mut self.full);
    }

    /// What a series gained since the last round, and its number. `None`: there is no room for its name in `most` bytes.
    pub(super) fn gained(&mut self, sample: &Sample, most: usize) -> Option<(u32, Gain)> {
        let values = values(&sample.value);
        let round = self.round;
        let address = Arc::as_ptr(&sample.series).addr();
        if let Some(known) = self.known.get_mut(&address) {
            let again = known.created != sample.created;
            let gain = if again { values } else { difference(&values, &known.values) };
            known.created = sample.created;
            known.values = values;
            known.round = round;
            return Some((known.id, gain));
        }
        if self.full {
            // Making the names of all that do not fit would cost more than they are worth.
            return None;
        }
        let named = Named::of(&sample.series, namespace(&sample.labels));
        let Some(id) = self.number(named, most) else {
            self.full = true;
            return None;
        };
        let series = Arc::clone(&sample.series);
        self.known.insert(address, Known { series, created: sample.created, values, id, round });
        // Where series were refused, one that is new here may be old: what it counted all that time is not of this step.
        let gain = if self.was_full { difference(&values, &values) } else { values };
        Some((id, gain))
    }

    /// Forgets what the registry no longer has.
    pub(super) fn end_round(&mut self) {
        let round = self.round;
        self.known.retain(|_, known| {
            debug_assert!(Arc::strong_count(&known.series) > 0);
            known.round == round
        });
    }

    /// The number of a series; `None`: there is no room for its name in `most` bytes.
    pub(super) fn number(&mut self, named: Named, most: usize) -> Option<u32> {
        if let Some(&id) = self.by_name.get(&named) {
            return Some(id);
        }
        let cost = named.cost();
        if self.cost.saturating_add(cost) > most {
            return None;
        }
        let named = Arc::new(named);
        let place = Place { named: Some(Arc::clone(&named)), last: i64::MIN };
        let id = match self.free.pop() {
            Some(id) => {
                *self.places.get_mut(usize::try_from(id).ok()?)? = place;
                id
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).ok()?
            }
        };
        self.by_name.insert(named, id);
        self.cost += cost;
        Some(id)
    }

    /// A step that begins then names it.
    pub(super) fn named_at(&mut self, id: u32, start: i64) {
        if let Some(place) = usize::try_from(id).ok().and_then(|id| self.places.get_mut(id)) {
            place.last = place.last.max(start);
        }
    }

    /// Gives back the numbers that no step from `oldest` on names, unless the registry still has the series.
    pub(super) fn forget_before(&mut self, oldest: i64) {
        let mut held = vec![false; self.places.len()];
        for known in self.known.values() {
            if let Some(held) = usize::try_from(known.id).ok().and_then(|id| held.get_mut(id)) {
                *held = true;
            }
        }
        for (id, (place, held)) in self.places.iter_mut().zip(held).enumerate() {
            if held || place.last >= oldest {
                continue;
            }
            if let (Some(named), Ok(id)) = (place.named.take(), u32::try_from(id)) {
                self.by_name.remove(&named);
                self.cost = self.cost.saturating_sub(named.cost());
                self.free.push(id);
            }
        }
        // The smallest first: numbers stay short.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
    }
}

fn values(value: &Value) -> Gain {
    match value {
        Value::Count(count) => {
            let mut values = [0; BUCKETS];
            if let Some(first) = values.first_mut() {
                *first = *count;
            }
            values
        }
        Value::Histogram { buckets, .. } => *buckets,
    }
}

/// What was gained from `before` to `now`; all of it, if something went back: it began anew.
fn difference(now: &Gain, before: &Gain) -> Gain {
    let mut gain = *now;
    for (gain, before) in gain.iter_mut().zip(before) {
        match gain.checked_sub(*before) {
            Some(gained) => *gain = gained,
            None => return *now,
        }
    }
    gain
}

/// The namespace in a series' rendered labels, which stands behind the service. Empty: none.
fn namespace(labels: &str) -> &str {
    let Some((_, rest)) = labels.split_once(",service_namespace=\"") else { return "" };
    // The name of a Kubernetes namespace holds nothing that would be escaped; others are shown as they are rendered.
    rest.split_once('"').map_or("", |(namespace, _)| namespace)
}

/// Adds up what gains count.
pub(super) fn total(gain: &Gain) -> u64 {
    gain.iter().fold(0, |sum, &n| sum.saturating_add(n))
}

/// Adds `gain` at the place of `id`, which is made if need be.
pub(super) fn add_at(totals: &mut Vec<Gain>, id: u32, gain: &Gain) {
    let Ok(at) = usize::try_from(id) else { return };
    if at >= totals.len() {
        totals.resize(at + 1, [0; BUCKETS]);
    }
    if let Some(total) = totals.get_mut(at) {
        add(total, gain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_namespace_behind_the_service() {
        assert_eq!(namespace("service_name=\"a\",service_namespace=\"b\",x=\"c\""), "b");
        assert_eq!(namespace("service_name=\"a\",x=\"c\""), "");
    }

    #[test]
    fn numbers_are_given_again_once_no_step_names_them() {
        let mut dictionary = Dictionary::default();
        let named = |service| Named::new(Metric::HttpServerRequestDuration, service, "", &[("http.route", "/")]);
        assert_eq!(dictionary.number(named("a"), 1 << 20), Some(0));
        assert_eq!(dictionary.number(named("b"), 1 << 20), Some(1));
        dictionary.named_at(0, 100);
        dictionary.named_at(1, 200);
        dictionary.forget_before(150);
        assert_eq!(dictionary.len(), 1);
        assert_eq!(dictionary.number(named("b"), 1 << 20), Some(1));
        assert_eq!(dictionary.number(named("c"), 1 << 20), Some(0));
        let cost = dictionary.cost();
        assert_eq!(dictionary.number(named("d"), cost), None, "no room");
        dictionary.forget_before(i64::MAX);
        assert_eq!((dictionary.len(), dictionary.cost()), (0, 0));
    }

    #[test]
    fn what_goes_back_began_anew() {
        let gain = |n| {
            let mut gain: Gain = [0; BUCKETS];
            gain[0] = n;
            gain
        };
        assert_eq!(difference(&gain(5), &gain(3)), gain(2));
        assert_eq!(difference(&gain(2), &gain(3)), gain(2));
    }
}
