//! The texts of a trace.

use crate::trace::Trace;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Calls a closure with each string of the payload and with each tag. Not with what another program wrote that is not
/// JSON, from where it is not.
pub(super) fn texts(trace: &Trace, each: &mut impl FnMut(&str)) {
    let mut json = serde_json::Deserializer::from_str(trace.payload().as_str());
    // What is not JSON says nothing.
    let _: Result<(), _> = Strings(each).deserialize(&mut json);
    trace.tags().for_each(each);
}

struct Strings<'e, E>(&'e mut E);

impl<'de, E: FnMut(&str)> DeserializeSeed<'de> for Strings<'_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E: FnMut(&str)> Visitor<'de> for Strings<'_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<X>(self, text: &str) -> Result<(), X> {
        (self.0)(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Strings(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(Strings(self.0))?;
        }
        Ok(())
    }

    fn visit_unit<X>(self) -> Result<(), X> {
        Ok(())
    }

    fn visit_bool<X>(self, _: bool) -> Result<(), X> {
        Ok(())
    }

    fn visit_i64<X>(self, _: i64) -> Result<(), X> {
        Ok(())
    }

    fn visit_u64<X>(self, _: u64) -> Result<(), X> {
        Ok(())
    }

    fn visit_f64<X>(self, _: f64) -> Result<(), X> {
        Ok(())
    }
}
