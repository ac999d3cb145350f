//! The channels of one connection, in no more memory than they need: nearly all clients have one or two.

use super::subscription::Subscription;

/// Up to this number of channels the list grows by exactly one. A client with more may soon have many more.
const FEW: usize = 4;

/// Subscriptions by channel, in the order of the channels' names.
#[derive(Default)]
pub(crate) struct Channels(Vec<(Box<str>, Subscription)>);

impl Channels {
    pub(crate) fn get(&self, channel: &str) -> Option<&Subscription> {
        self.place(channel).ok().map(|place| &self.0[place].1)
    }

    pub(crate) fn get_mut(&mut self, channel: &str) -> Option<&mut Subscription> {
        self.place(channel).ok().map(|place| &mut self.0[place].1)
    }

    /// Adds a subscription, and returns the one that it replaces.
    pub(crate) fn insert(
        &mut self,
        channel: String,
        subscription: Subscription,
    ) -> Option<Subscription> {
        match self.place(&channel) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, subscription)),
            Err(place) => {
                if self.0.len() < FEW {
                    self.0.reserve_exact(1);
                }
                self.0.insert(place, (channel.into(), subscription));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, channel: &str) -> Option<Subscription> {
        let place = self.place(channel).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Drops the subscriptions that their rooms have ended.
    pub(crate) fn drop_ended(&mut self) {
        self.0.retain(|(_, subscription)| !subscription.is_ended());
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Subscription)> {
        self.0
            .iter()
            .map(|(channel, subscription)| (&**channel, subscription))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn place(&self, channel: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(name, _)| (**name).cmp(channel))
    }
}
