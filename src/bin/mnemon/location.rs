//! The store that a command is given: a file, or a space of a PostgreSQL database.

use crate::{progress, text};
use anyhow::{Context, Result, bail, ensure};
use mnemon::{ErrorKind, StoreBuilder, TraceStore, postgres};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// `PATH`, or `postgres://host/database?space=NAME`.
#[derive(Clone)]
pub enum Location {
    File(PathBuf),
    Space(Space),
}

/// A space, by the URL of its database.
#[derive(Clone)]
pub struct Space {
    /// Without the parameter `space`. May hold a password, and is never shown.
    url: String,
    /// `None` if it is malformed.
    name: Option<String>,
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        path.into_os_string().into()
    }
}

/// Never fails, since the message of a failure would quote the URL.
impl From<OsString> for Location {
    fn from(argument: OsString) -> Self {
        let text = argument.to_string_lossy();
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Self::File(argument.into());
        }
        let (head, query) = text.rsplit_once('?').unwrap_or((&text, ""));
        let is_name = |parameter: &&str| parameter.starts_with("space=");
        let Some(name) = query.split('&').find(is_name) else {
            return Self::Space(Space { url: text.into_owned(), name: Some("default".to_owned()) });
        };
        let rest: Vec<_> = query.split('&').filter(|parameter| !is_name(parameter)).collect();
        let url = if rest.is_empty() { head.to_owned() } else { format!("{head}?{}", rest.join("&")) };
        Self::Space(Space { url, name: decoded(&name["space=".len()..]) })
    }
}

/// Takes `%XX` for the byte that it stands for; `None` if one is malformed, or the bytes are not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            let digits = digits.map(|digit| char::from(digit).to_digit(16));
            bytes.push(u8::try_from(digits[0]? << 4 | digits[1]?).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl Space {
    pub fn name(&self) -> Result<&str> {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.context(
            "the name of the space in the URL is malformed: give space=NAME, with special characters as %XX",
        )
    }

    /// The space's row, and its content in numbers.
    pub fn inspect(&self) -> Result<postgres::SpaceContent> {
        Ok(postgres::inspect(&self.url, self.name()?)?)
    }

    /// The space's row, and the numbers of its traces and links.
    pub fn report(&self) -> Result<postgres::SpaceReport> {
        Ok(postgres::space(&self.url, self.name()?)?)
    }
}

impl Location {
    /// Opens the store for writing, creating it if it does not exist, with a progress bar while its rows are read.
    pub fn open(&self, builder: StoreBuilder) -> Result<TraceStore> {
        match self {
            Self::File(path) => Ok(progress::while_reading(builder, |builder| builder.open(path))?),
            Self::Space(space) => {
                let builder = builder.space(space.name()?);
                Ok(progress::while_reading(builder, |builder| builder.connect(&space.url))?)
            }
        }
    }

    /// Reads the store as of one cut, also while a host has it, with a bar.
    pub fn detached(&self, builder: StoreBuilder) -> Result<TraceStore> {
        match self {
            Self::File(path) => Ok(progress::while_reading(builder, |builder| builder.detached(path))?),
            Self::Space(space) => {
                let builder = builder.space(space.name()?);
                Ok(progress::while_reading(builder, |builder| builder.detached_space(&space.url))?)
            }
        }
    }

    pub fn is_there(&self) -> Result<bool> {
        match self {
            Self::File(path) => Ok(path.exists()),
            Self::Space(space) => match postgres::space(&space.url, space.name()?) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                report => Ok(report.map(|_| true)?),
            },
        }
    }

    /// The path, for a command that is about files.
    pub fn file(&self, command: &str, instead: &str) -> Result<&Path> {
        match self {
            Self::File(path) => Ok(path),
            Self::Space(_) => bail!("{command} takes a file, not a space of a database: {instead}"),
        }
    }

    /// The URL of a database, for a command that is about all of its spaces.
    pub fn database(&self) -> Result<&str> {
        match self {
            Self::Space(space) => Ok(&space.url),
            Self::File(path) => bail!("{} is no URL: give postgres://host/database", path.display()),
        }
    }

    /// The database of a space, for people.
    pub fn server(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Space(space) => format!("postgres://{}", without_user(&space.url)),
        }
    }

    /// Fails if there is no such store.
    pub fn ensure_there(&self) -> Result<()> {
        ensure!(self.is_there()?, "there is no store at {self}: `mnemon put` makes one");
        Ok(())
    }

    /// On standard error, of a store that is copied: that there is more, beside its file.
    pub fn warn_of_spill(&self) {
        if let Self::File(path) = self {
            text::warn_of_spill(path);
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Space(space) => {
                let name = space.name.as_deref().unwrap_or_default();
                write!(f, "{}?space={name}", self.server())
            }
        }
    }
}

/// Host and database of a URL; nothing where its user can't be told from them.
fn without_user(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (head, query) = rest.split_once('?').unwrap_or((rest, ""));
    match head.rsplit_once('@') {
        Some((_, place)) => place,
        None if query.contains('@') => "",
        None => head,
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    /// Returns the URL that the server is given, the name of the space, and the text that is shown.
    fn parsed(text: &str) -> Option<(String, Option<String>, String)> {
        let location = Location::from(std::ffi::OsString::from(text));
        let shown = location.to_string();
        match location {
            Location::File(_) => None,
            Location::Space(space) => Some((space.url, space.name, shown)),
        }
    }

    #[test]
    fn url_names_its_space() {
        let of = |text: &str, url: &str, name: Option<&str>, shown: &str| {
            assert_eq!(
                parsed(text),
                Some((url.to_owned(), name.map(str::to_owned), shown.to_owned())),
                "{text}"
            );
        };
        of("postgres://h/d", "postgres://h/d", Some("default"), "postgres://h/d?space=default");
        of("postgresql://h/d?space=a%207", "postgresql://h/d", Some("a 7"), "postgres://h/d?space=a 7");
        of(
            "postgres://u:p%40w@h:1/d?sslmode=require&space=%C3%A9&connect_timeout=3",
            "postgres://u:p%40w@h:1/d?sslmode=require&connect_timeout=3",
            Some("é"),
            "postgres://h:1/d?space=é",
        );
        for malformed in ["%", "%4", "%g0", "%+1", "%ff"] {
            of(&format!("postgres://h/d?space={malformed}"), "postgres://h/d", None, "postgres://h/d?space=");
        }
        assert_eq!(parsed("memory.db"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        for url in [
            "postgres://u:secret@h/d",
            "postgres://u:sec?ret@h/d",
            "postgres://u:secret@h@h/d?space=x",
            "postgres://h/d?user=u&password=secret",
            "postgres://h/d?password=se@secret&space=x",
        ] {
            let shown = parsed(url).map(|(_, _, shown)| shown);
            assert!(shown.is_some_and(|shown| !shown.contains("sec") && !shown.contains("ret")), "{url}");
        }
    }
}
