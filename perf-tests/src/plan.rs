//! In which order rounds run.
//!
//! A machine grows slower and faster over minutes (heat, neighbours). So columns take turns, forwards and backwards
//! (A B, B A, A B, ...), and what belongs together lies as close as it can.

/// Pairs of a round's number and a column's.
pub fn order(rounds: u32, columns: usize) -> impl Iterator<Item = (u32, usize)> {
    (0..rounds).flat_map(move |round| {
        (0..columns).map(move |place| (round, if round.is_multiple_of(2) { place } else { columns - 1 - place }))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_take_turns_forwards_and_backwards() {
        let order: Vec<_> = super::order(3, 2).collect();
        assert_eq!(order, [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)]);
    }
}
