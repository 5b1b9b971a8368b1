//! `mnemon top` of a space: what the space's row in the database says of its host.

use super::Reading;
use crate::location::{Location, Space};
use crate::spaces::{SpaceJson, last_cut, owner};
use crate::text::{self, BOLD, DIM, number, styled};
use anyhow::Result;
use jiff::Timestamp;
use mnemon::postgres::SpaceReport;
use serde_json::Value;

/// What a space says at one time.
pub struct SpaceRow {
    location: String,
    at: Timestamp,
    space: SpaceReport,
}

impl SpaceRow {
    pub fn read(location: &Location, space: &Space) -> Result<Self> {
        Ok(Self { location: location.to_string(), at: Timestamp::now(), space: space.report()? })
    }
}

impl Reading for SpaceRow {
    fn json(&self) -> Value {
        serde_json::to_value(SpaceJson::of(&self.space)).unwrap_or_default()
    }

    fn line(&self) -> String {
        let SpaceReport { traces, links, watermark, .. } = self.space;
        [
            self.at.strftime("%H:%M:%SZ").to_string(),
            format!("{} traces", number(traces)),
            format!("{} links", number(links)),
            format!("watermark {}", number(watermark)),
            format!("last cut {}", last_cut(&self.space)),
            format!("owner {}", owner(&self.space)),
        ]
        .join("  ")
    }

    fn picture(&self, width: usize) -> Vec<String> {
        let SpaceReport { traces, links, watermark, .. } = self.space;
        let head = text::harmless(&self.location).into_owned();
        let rows = [
            ("owner", owner(&self.space)),
            ("last cut", last_cut(&self.space)),
            ("watermark", number(watermark)),
            ("traces", number(traces)),
            ("links", number(links)),
        ];
        let said = rows.iter().map(|(name, value)| {
            let label = format!("  {name:<10}  ");
            let room = width.saturating_sub(label.len());
            format!("{}{}", styled(DIM, &label), text::cut(value, room))
        });
        [styled(BOLD, text::cut(&head, width)), String::new()].into_iter().chain(said).collect()
    }

    /// A lease that is renewed is no news.
    fn is_same(&self, last: &Self) -> bool {
        let told = |of: &Self| (of.space.watermark, of.space.owner.clone(), of.space.is_over, of.is_last());
        told(self) == told(last)
    }

    fn is_last(&self) -> bool {
        self.space.lease_until.is_none()
    }
}
