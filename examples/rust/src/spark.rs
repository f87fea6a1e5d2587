//! Numbers as a line of small bars.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar for each number: the greatest is full, what is nothing is a space.
#[must_use]
pub fn line(numbers: &[i64]) -> String {
    let most = numbers.iter().copied().max().unwrap_or(0).max(1);
    let bar = |&number: &i64| match usize::try_from(i128::from(number.max(0)) * 8 / i128::from(most)) {
        _ if number <= 0 => ' ',
        Ok(eighths) => BARS[eighths.clamp(1, 8) - 1],
        Err(_) => ' ',
    };
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_greatest_is_full_and_nothing_is_a_space() {
        assert_eq!(line(&[0, 1, 4, 8]), " ▁▄█");
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[i64::MAX, 1]), "█▁");
        assert_eq!(line(&[-5, 0]), "  ");
    }
}
