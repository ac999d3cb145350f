//! The history of a stream in memory, in the order of the offsets.

use std::collections::VecDeque;

use crate::clock::HubTime;
use crate::room::history_memory::HistoryShare;
use crate::wire::Publication;

/// The newest publications of a stream.
#[derive(Debug, Default)]
pub(in crate::room) struct RetainedHistory {
    publications: VecDeque<Publication>,
    bytes: usize,
    /// Set in an open channel, whose history is counted with all others.
    share: Option<HistoryShare>,
}

impl RetainedHistory {
    /// Counts the history, from now on, with those of all other open channels.
    pub(in crate::room) fn count_with(&mut self, share: HistoryShare) {
        for publication in &self.publications {
            share.add(publication.weight(), publication.time);
        }
        self.share = Some(share);
    }

    pub(in crate::room) fn len(&self) -> usize {
        self.publications.len()
    }

    pub(in crate::room) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::room) fn oldest(&self) -> Option<&Publication> {
        self.publications.front()
    }

    pub(in crate::room) fn iter(&self) -> impl DoubleEndedIterator<Item = &Publication> {
        self.publications.iter()
    }

    /// Returns the newest `count` publications, at most all.
    pub(in crate::room) fn newest(&self, count: usize) -> impl Iterator<Item = &Publication> {
        let from = self.publications.len().saturating_sub(count);
        self.publications.range(from..)
    }

    pub(in crate::room) fn push(&mut self, publication: Publication) {
        let weight = publication.weight();
        if let Some(share) = &self.share {
            share.add(weight, publication.time);
        }
        self.bytes += weight;
        self.publications.push_back(publication);
    }

    /// Adds a publication before all others, read from the rows of a durable stream. An open
    /// channel has no such rows.
    pub(in crate::room) fn push_oldest(&mut self, publication: Publication) {
        self.bytes += publication.weight();
        self.publications.push_front(publication);
    }

    pub(in crate::room) fn drop_oldest(&mut self) {
        let Some(oldest) = self.publications.pop_front() else {
            return;
        };
        let weight = oldest.weight();
        self.bytes -= weight;
        if let Some(share) = &self.share {
            share.give_back(weight, self.oldest().map(|oldest| oldest.time));
        }
    }

    /// Drops the oldest publications while all histories together exceed their memory.
    pub(in crate::room) fn fit_into_memory(&mut self) {
        let before = self.len();
        while self.len() > 0 && self.share.as_ref().is_some_and(HistoryShare::is_exceeded) {
            self.drop_oldest();
        }
        self.count_forgotten(before);
    }

    /// Drops publications older than a moment to free memory.
    pub(in crate::room) fn forget_before(&mut self, moment: HubTime) {
        let before = self.len();
        while self.oldest().is_some_and(|oldest| oldest.time < moment) {
            self.drop_oldest();
        }
        self.count_forgotten(before);
    }

    fn count_forgotten(&self, before: usize) {
        if let Some(share) = &self.share
            && before > self.len()
        {
            share.forgotten((before - self.len()) as u64);
        }
    }
}
