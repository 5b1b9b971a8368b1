//! Passwords in the arguments of the command line, which nothing that is printed may show.

/// The text without what the command line has of users and passwords: an error may quote any argument, also one that
/// was given where no URL is expected.
pub fn hidden(text: String) -> String {
    std::env::args_os().fold(text, |text, argument| without(text, &argument.to_string_lossy()))
}

fn without(text: String, argument: &str) -> String {
    let mut text = text;
    let user = argument.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    if let Some((user, _)) = user.filter(|(user, _)| !user.is_empty()) {
        text = text.replace(&format!("{user}@"), "");
    }
    for (_, rest) in argument.match_indices("password=").map(|(at, name)| argument.split_at(at + name.len()))
    {
        let end = rest.find(|letter: char| letter == '&' || letter.is_whitespace()).unwrap_or(rest.len());
        let password = &rest[..end];
        text = text.replace(&format!("password={password}"), "password=...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn users_and_passwords_are_hidden() {
        for (argument, shown) in [
            ("postgres://u:secret@h/d", "postgres://h/d"),
            ("POSTGRES://u:secret@h/d", "POSTGRES://h/d"),
            ("--at=postgres://u:sec?ret@se@h/d", "--at=postgres://h/d"),
            ("postgres://h/d?user=u&password=secret&x=y", "postgres://h/d?user=u&password=...&x=y"),
            ("host=h password=secret user=u", "host=h password=... user=u"),
            ("memory.db", "memory.db"),
            ("a@b", "a@b"),
        ] {
            let said = without(format!("invalid value '{argument}' for '[STORE]'"), argument);
            assert_eq!(said, format!("invalid value '{shown}' for '[STORE]'"));
        }
    }
}
