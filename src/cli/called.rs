//! The words by which the program was called: by its own name, or as a plugin of kubectl.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::arguments::Arguments;

/// The program's own name.
const NAME: &str = "mooring";

/// What the program was called as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Called {
    /// `mooring`.
    #[default]
    Itself,
    /// `kubectl mooring`, for which kubectl looks for a `kubectl-mooring`.
    Plugin,
    /// `kubectl_complete-mooring`, which kubectl asks how a line with the plugin may go on.
    Completer,
}

impl Called {
    /// By the path of the program, the first of its arguments.
    #[must_use]
    pub fn by(path: &OsStr) -> Self {
        match Path::new(path).file_stem().and_then(OsStr::to_str) {
            Some("kubectl-mooring") => Self::Plugin,
            Some("kubectl_complete-mooring") => Self::Completer,
            _ => Self::Itself,
        }
    }

    /// What is typed.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Itself => NAME,
            Self::Plugin | Self::Completer => "kubectl mooring",
        }
    }

    /// The grammar, in these words.
    #[must_use]
    pub fn grammar(self) -> Command {
        match self {
            Self::Itself => Arguments::command(),
            Self::Plugin | Self::Completer => {
                let grammar = self.rename(Arguments::command());
                grammar.name("kubectl-mooring").bin_name(self.words())
            }
        }
    }

    fn rename(self, command: Command) -> Command {
        let more = command.get_after_help().map(|more| self.rewrite(&more.to_string()).into_owned());
        let command = command.mut_subcommands(|verb| self.rename(verb));
        match more {
            Some(more) => command.after_help(more),
            None => command,
        }
    }

    /// A text whose commands begin with these words.
    #[must_use]
    pub fn rewrite(self, text: &str) -> Cow<'_, str> {
        if self == Self::Itself || !text.contains(NAME) {
            return Cow::Borrowed(text);
        }
        let grammar = Arguments::command();
        let is_verb =
            |word: &str| grammar.get_subcommands().any(|verb| verb.get_name_and_visible_aliases().contains(&word));
        let mut rewritten = String::new();
        let mut last = 0;
        for (at, _) in text.match_indices(NAME) {
            let (before, after) = (&text[..at], &text[at + NAME.len()..]);
            let begins = !before.ends_with(|sign: char| sign.is_alphanumeric() || "-_./".contains(sign));
            let verb = after
                .strip_prefix(' ')
                .map(|rest| rest.split(|sign: char| !sign.is_alphanumeric() && sign != '-').next());
            if begins && !before.ends_with("kubectl ") && verb.flatten().is_some_and(is_verb) {
                rewritten.push_str(&text[last..at]);
                rewritten.push_str(self.words());
                last = at + NAME.len();
            }
        }
        rewritten.push_str(&text[last..]);
        Cow::Owned(rewritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_tells_what_it_was_called_as() {
        for (path, called) in [
            ("mooring", Called::Itself),
            ("/usr/bin/mooring", Called::Itself),
            ("/home/a/.krew/bin/kubectl-mooring", Called::Plugin),
            ("kubectl-mooring.exe", Called::Plugin),
            ("./kubectl_complete-mooring", Called::Completer),
            ("", Called::Itself),
        ] {
            assert_eq!(Called::by(OsStr::new(path)), called, "{path}");
        }
    }

    #[test]
    fn commands_are_renamed_and_nothing_else() {
        for (text, renamed) in [
            ("see `mooring endpoint list`", "see `kubectl mooring endpoint list`"),
            ("source <(mooring completion zsh)", "source <(kubectl mooring completion zsh)"),
            ("echo | mooring online-endpoint invoke", "echo | kubectl mooring online-endpoint invoke"),
            ("namespace mooring-system of mooring goes on", "namespace mooring-system of mooring goes on"),
            ("kubectl mooring endpoint list", "kubectl mooring endpoint list"),
            ("mooring is there", "mooring is there"),
            ("target/mooring endpoint", "target/mooring endpoint"),
        ] {
            assert_eq!(Called::Plugin.rewrite(text), renamed);
            assert_eq!(Called::Itself.rewrite(text), text);
        }
    }

    #[test]
    fn every_example_is_in_the_words_of_the_plugin() {
        fn walk(command: &Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("kubectl mooring "), "{}: {help}", command.get_name());
            assert_eq!(help, Called::Plugin.rewrite(&help), "{}", command.get_name());
            command.get_subcommands().for_each(walk);
        }
        let grammar = Called::Plugin.grammar();
        grammar.clone().debug_assert();
        walk(&grammar);
    }
}
