//! Whether a text that should be French still is English in places.

/// Words that no French sentence has.
const ENGLISH: [&str; 14] =
    ["the", "is", "are", "was", "were", "of", "and", "with", "nothing", "every", "not", "by", "it", "which"];

/// The lines of a Markdown text that have English words, but for what stands in code.
pub fn english_in(markdown: &str) -> Vec<&str> {
    let mut code = false;
    let prose = markdown.lines().filter(|line| {
        let fence = line.starts_with("```");
        code ^= fence;
        !code && !fence
    });
    prose.filter(|line| line.split([' ', '|', ',', ':', '.', '(', ')']).any(|word| ENGLISH.contains(&word))).collect()
}

#[cfg(test)]
mod tests {
    use super::english_in;

    #[test]
    fn what_is_english_is_found_and_code_is_not_looked_at() {
        let text = "# Rapport\nla copie est intègre\n```\nthe code\n```\n| étape | it was left out |\n";
        assert_eq!(english_in(text), ["| étape | it was left out |"]);
    }
}
