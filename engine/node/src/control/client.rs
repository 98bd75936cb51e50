//! Asking the shards, and telling them.
//!
//! Commands and queries about one name go to the shard that owns it, lists go to all. Every query
//! has a number, a deadline and a place that waits for its answer; a shard that is stuck costs
//! whoever asks an error after [`ANSWER_TIMEOUT`], never the control plane.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use lampfield_core::canonical_name;
use lampfield_core::command::{Answer, Command, Query, Refusal, Reply};
use lampfield_core::placement::{Placement, ShardId, TenantId};
use lampfield_core::provider::Providers;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::channel::{Seen, ToShard};

/// How long a shard may take to accept a message and to answer it. A shard answers within one
/// turn (milliseconds); this long means that it is overloaded or dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a state was not set, or may not be seen everywhere yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// The owner refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The owner cannot be told, or said nothing.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The owner has set it, and a shard with extensions of that source has not confirmed.
    #[error("it is set, but not everywhere yet: {0}")]
    Unconfirmed(ShardError),
}

/// Why a shard could not be asked or told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ShardError {
    /// Its queue stayed full.
    #[error("shard {} is overloaded: its queue stayed full for {} s", .0.0, ANSWER_TIMEOUT.as_secs())]
    Busy(ShardId),
    /// It took the question and did not answer.
    #[error("shard {} did not answer within {} s", .0.0, ANSWER_TIMEOUT.as_secs())]
    Silent(ShardId),
    /// It has ended.
    #[error("shard {} has ended", .0.0)]
    Gone(ShardId),
    /// The command has no owner that the control plane could name.
    #[error("no shard owns what this names")]
    NotRoutable,
}

/// The control plane's way to the shards. Cheap to clone.
#[derive(Clone)]
pub struct ShardClient {
    inner: Rc<Inner>,
}

struct Inner {
    placement: Placement,
    shards: Vec<async_channel::Sender<ToShard>>,
    waiting: RefCell<HashMap<u64, Waiting>>,
    next_id: Cell<u64>,
}

/// What waits for the replies under one number.
enum Waiting {
    /// A question, for its answer.
    Question(oneshot::Sender<Answer>),
    /// A question for the loop around the shard.
    Look(oneshot::Sender<Box<Seen>>),
    /// A change, for its owner's answer and then for those whom the owner named.
    Change(Box<Confirmations>),
}

/// Who has yet to speak before a change is applied. Confirmations may overtake the owner's answer.
struct Confirmations {
    owner_answered: bool,
    /// Shards the owner named.
    missing: Vec<ShardId>,
    /// Shards that confirmed before the owner named them.
    early: Vec<ShardId>,
    done: oneshot::Sender<Result<(), Refusal>>,
}

impl ShardClient {
    /// A client of `shards`, which are numbered from 0 and placed by `placement`.
    pub fn new(placement: Placement, shards: Vec<async_channel::Sender<ToShard>>) -> Self {
        debug_assert_eq!(usize::from(placement.shard_count()), shards.len());
        let (waiting, next_id) = (RefCell::default(), Cell::new(1));
        Self { inner: Rc::new(Inner { placement, shards, waiting, next_id }) }
    }

    /// Who owns what.
    pub fn placement(&self) -> &Placement {
        &self.inner.placement
    }

    /// Messages that wait in the queue to `shard`.
    pub fn queue_depth(&self, shard: ShardId) -> usize {
        self.inner.shards.get(usize::from(shard.0)).map_or(0, async_channel::Sender::len)
    }

    /// Hands a change of a state to the shard that owns what it names. Changes to one shard, and
    /// queries after them, arrive in order. `providers` say how names are spelled.
    ///
    /// The change is under way when this returns; [`Change::applied`] waits for it. So many changes
    /// can be under way at once.
    ///
    /// # Errors
    ///
    /// A shard that cannot take it.
    pub async fn change(
        &self,
        command: Command,
        providers: &Providers,
    ) -> Result<Change, ShardError> {
        let owner = match &command {
            Command::SetDevice { tenant, device, .. } => {
                self.owner_of_source(*tenant, device, providers)
            }
            Command::SetPresence { tenant, presentity, .. } => {
                self.owner_of_source(*tenant, presentity, providers)
            }
            Command::SetMailbox { tenant, mailbox, .. } => {
                self.owner_of_source(*tenant, mailbox, providers)
            }
            Command::Reload(_)
            | Command::ListenEvents(_)
            | Command::ResetLatencies
            | Command::Drain(_)
            | Command::Restore(_) => return Err(ShardError::NotRoutable),
        };
        let deadline = deadline();
        let (done, applied) = oneshot::channel();
        let (missing, early) = (Vec::new(), Vec::new());
        let waits = Confirmations { owner_answered: false, missing, early, done };
        let ticket = self.wait_for(Waiting::Change(Box::new(waits)));
        let change = Change { owner, deadline, applied, ticket };
        self.send(owner, ToShard::Change(change.ticket.id, command), deadline).await?;
        Ok(change)
    }

    /// Hands `command` to every shard.
    ///
    /// # Errors
    ///
    /// The first shard that cannot take it. The others have got it then.
    pub async fn broadcast(&self, command: Command) -> Result<(), ShardError> {
        let deadline = deadline();
        let mut result = Ok(());
        for shard in self.inner.placement.shards() {
            let sent = self.send(shard, ToShard::Command(command.clone()), deadline).await;
            result = result.and(sent);
        }
        result
    }

    /// Asks one shard.
    ///
    /// # Errors
    ///
    /// A shard that does not take the question or does not answer in time.
    pub async fn ask_one(&self, shard: ShardId, query: Query) -> Result<Answer, ShardError> {
        let deadline = deadline();
        let question = self.ask(shard, query, deadline).await?;
        question.answer(deadline).await
    }

    /// Asks the owner of the source or extension that `query` names.
    ///
    /// # Errors
    ///
    /// As [`ShardClient::ask_one`]; a query that names neither.
    pub async fn ask_owner(
        &self,
        query: Query,
        providers: &Providers,
    ) -> Result<Answer, ShardError> {
        let owner = match &query {
            Query::Device(tenant, name) | Query::Presence(tenant, name) => {
                self.owner_of_source(*tenant, name, providers)
            }
            Query::Extension { tenant, context, exten }
            | Query::Explain { tenant, context, exten } => {
                self.inner.placement.shard_of_extension(*tenant, context, exten)
            }
            _ => return Err(ShardError::NotRoutable),
        };
        self.ask_one(owner, query).await
    }

    /// Asks every shard; answers come in the order of shards.
    ///
    /// # Errors
    ///
    /// The first shard that does not take the question or does not answer in time.
    pub async fn ask_all(&self, query: Query) -> Result<Vec<Answer>, ShardError> {
        let deadline = deadline();
        let mut questions = Vec::with_capacity(self.inner.shards.len());
        for shard in self.inner.placement.shards() {
            questions.push(self.ask(shard, query.clone(), deadline).await?);
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(question.answer(deadline).await?);
        }
        Ok(answers)
    }

    /// What the loop of every shard has seen, in the order of shards.
    ///
    /// # Errors
    ///
    /// The first shard that does not take the question or does not answer in time.
    pub async fn look(&self) -> Result<Vec<Box<Seen>>, ShardError> {
        let deadline = deadline();
        let mut questions = Vec::with_capacity(self.inner.shards.len());
        for shard in self.inner.placement.shards() {
            let (sender, answer) = oneshot::channel();
            let ticket = self.wait_for(Waiting::Look(sender));
            let question = Question { shard, answer, ticket };
            self.send(shard, ToShard::Look(question.ticket.id), deadline).await?;
            questions.push(question);
        }
        let mut all = Vec::with_capacity(questions.len());
        for question in questions {
            all.push(question.answer(deadline).await?);
        }
        Ok(all)
    }

    /// Hands answers to those who wait for them. An answer that came too late is dropped.
    pub fn deliver(&self, replies: Vec<Reply>) {
        let mut waiting = self.inner.waiting.borrow_mut();
        for Reply { id, shard, answer } in replies {
            let Some(one) = waiting.get_mut(&id) else { continue };
            let is_over = match one {
                Waiting::Question(_) => true,
                Waiting::Look(_) => false,
                Waiting::Change(waits) => waits.hear(shard, &answer),
            };
            // The asker may have given up in this very moment: nobody needs the answer then.
            match if is_over { waiting.remove(&id) } else { None } {
                Some(Waiting::Question(asker)) => drop(asker.send(answer)),
                Some(Waiting::Change(waits)) => waits.end(answer),
                Some(Waiting::Look(_)) | None => {}
            }
        }
    }

    /// As [`ShardClient::deliver`], for what a loop has seen.
    pub fn deliver_seen(&self, id: u64, seen: Box<Seen>) {
        if let Some(Waiting::Look(asker)) = self.inner.waiting.borrow_mut().remove(&id) {
            drop(asker.send(seen));
        }
    }

    /// The owner of a source: of its name in the provider's spelling, so that `custom:x` and
    /// `Custom:x` are one.
    fn owner_of_source(&self, tenant: TenantId, name: &str, providers: &Providers) -> ShardId {
        self.inner.placement.shard_of_source(tenant, &canonical_name(providers, name))
    }

    async fn ask(
        &self,
        shard: ShardId,
        query: Query,
        deadline: Instant,
    ) -> Result<Question<Answer>, ShardError> {
        let (sender, answer) = oneshot::channel();
        let ticket = self.wait_for(Waiting::Question(sender));
        let question = Question { shard, answer, ticket };
        self.send(shard, ToShard::Query(question.ticket.id, query), deadline).await?;
        Ok(question)
    }

    /// A number of its own for what waits.
    fn wait_for(&self, waiting: Waiting) -> Ticket {
        let id = self.inner.next_id.get();
        self.inner.next_id.set(id + 1);
        self.inner.waiting.borrow_mut().insert(id, waiting);
        Ticket { client: self.clone(), id }
    }

    async fn send(
        &self,
        shard: ShardId,
        message: ToShard,
        deadline: Instant,
    ) -> Result<(), ShardError> {
        let queue = self.inner.shards.get(usize::from(shard.0)).ok_or(ShardError::Gone(shard))?;
        match timeout_at(deadline, queue.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ShardError::Gone(shard)),
            Err(_) => Err(ShardError::Busy(shard)),
        }
    }
}

impl Confirmations {
    /// Takes in what a shard says; true when nobody is missing any more.
    fn hear(&mut self, shard: ShardId, answer: &Answer) -> bool {
        match answer {
            Answer::Changed(Ok(others)) => {
                self.owner_answered = true;
                self.missing.extend(others.iter().filter(|shard| !self.early.contains(shard)));
            }
            Answer::Changed(Err(_)) => return true,
            _ if self.owner_answered => self.missing.retain(|missing| *missing != shard),
            _ => self.early.push(shard),
        }
        self.owner_answered && self.missing.is_empty()
    }

    /// Tells whoever waits how it ended, if he still does.
    fn end(self, last: Answer) {
        let refusal = match last {
            Answer::Changed(Err(refusal)) => Err(refusal),
            _ => Ok(()),
        };
        let _ = self.done.send(refusal);
    }
}

/// The number replies come under; nobody waits for them any more when it is dropped.
struct Ticket {
    client: ShardClient,
    id: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.client.inner.waiting.borrow_mut().remove(&self.id);
    }
}

/// A change under way.
pub struct Change {
    owner: ShardId,
    deadline: Instant,
    applied: oneshot::Receiver<Result<(), Refusal>>,
    ticket: Ticket,
}

impl Change {
    /// Waits until every shard that has extensions of the source has applied the change: whatever
    /// is asked or subscribed to afterwards sees it.
    ///
    /// # Errors
    ///
    /// Why it was not set, or which shard did not confirm it in time.
    pub async fn applied(mut self) -> Result<(), ChangeError> {
        match timeout_at(self.deadline, &mut self.applied).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(ShardError::Gone(self.owner).into()),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> ChangeError {
        let waiting = self.ticket.client.inner.waiting.borrow();
        match waiting.get(&self.ticket.id) {
            Some(Waiting::Change(waits)) if waits.owner_answered => {
                let silent = waits.missing.first().copied().unwrap_or(self.owner);
                ChangeError::Unconfirmed(ShardError::Silent(silent))
            }
            _ => ShardError::Silent(self.owner).into(),
        }
    }
}

/// A question that was asked; forgotten when dropped.
struct Question<T> {
    shard: ShardId,
    answer: oneshot::Receiver<T>,
    ticket: Ticket,
}

impl<T> Question<T> {
    async fn answer(mut self, deadline: Instant) -> Result<T, ShardError> {
        match timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(ShardError::Gone(self.shard)),
            Err(_) => Err(ShardError::Silent(self.shard)),
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + ANSWER_TIMEOUT
}
