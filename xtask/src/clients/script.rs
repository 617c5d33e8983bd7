//! The script: steps for a shell, each with a name, and the objects that they apply.

/// What the steps apply.
pub(crate) const OBJECTS: &str = include_str!("objects.yaml");

const SCRIPT: &str = include_str!("script.sh");

/// A part of the script.
#[derive(Debug, PartialEq)]
pub(crate) struct Step<'a> {
    pub(crate) name: &'a str,
    pub(crate) commands: &'a str,
}

/// The script's steps, in their order.
pub(crate) fn steps() -> Vec<Step<'static>> {
    parse(SCRIPT)
}

/// A step begins with a line `## NAME`.
fn parse(script: &str) -> Vec<Step<'_>> {
    let parts = script.split("\n## ").skip(1);
    parts
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, commands)| Step { name: name.trim(), commands })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_begin_with_their_names() {
        let found = parse("# a script\n\n## one\na\nb\n\n## two\nc\n");
        assert_eq!(found, [Step { name: "one", commands: "a\nb\n" }, Step { name: "two", commands: "c\n" }]);
    }

    #[test]
    fn names_are_files_and_come_once() {
        let mut names: Vec<&str> = steps().iter().map(|step| step.name).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
