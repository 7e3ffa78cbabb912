//! Calls through caches.
//!
//! What is known is answered on the caller's own thread ([`recall_chat`], [`recall_embed`]); what is stale is served while the
//! I/O thread fetches it anew; what is unknown is asked of the provider ([`ask_chat`] and its like), once for all equal
//! calls under way. The innermost cache carries the flights, so that calls through different outer caches share them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Completed, Meta, Route, Sender, Tape, Timeouts, timeouts::Clock};
use crate::{
    cache::{Aboard, Answer, Key, KeyBuilder, LlmCache, Lookup, Stored, chat_key, embed_keys},
    error::{Error, ErrorKind},
    metrics::Metrics,
    model::{Assembly, ChatRequest, EmbedRequest, Embeddings, Response, Usage},
    runtime::generation,
};

/// What the caches know of a call.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub enum Recall<T, U> {
    /// The answer.
    Known(Completed<T>),
    /// Nothing, or not all: what to ask with.
    Unknown(U),
}

/// The place of a chat call in the caches; none if no cache takes it.
#[derive(Debug, Clone, Copy)]
pub struct Chat(Option<Key>);

/// What is known of some texts' vectors.
#[derive(Debug, Default)]
pub struct Texts {
    keys: Vec<Key>,
    known: Vec<Option<Arc<[f32]>>>,
}

/// Tells the next reader to try, whatever became of this one's attempt. After a success it changes nothing.
struct Refreshing {
    cache: Arc<LlmCache>,
    keys: Vec<Key>,
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.keys.iter().for_each(|key| self.cache.refresh_failed(*key));
    }
}

impl Route {
    fn name(&self) -> &'static str {
        self.endpoint.wire.name()
    }

    fn chat_caches(&self, request: &ChatRequest) -> impl DoubleEndedIterator<Item = &Arc<LlmCache>> {
        self.caches.iter().filter(|cache| cache.takes_chat(&request.options))
    }

    fn embed_caches(&self) -> impl DoubleEndedIterator<Item = &Arc<LlmCache>> {
        self.caches.iter().filter(|cache| cache.config().embeddings)
    }

    /// Calls share a request if their answers and their patience with the provider are the same. Each has its own total time.
    fn flight(&self, domain: &str, keys: impl ExactSizeIterator<Item = Key>) -> Key {
        let Timeouts { connect, first_token, idle, total: _ } = self.endpoint.timeouts;
        let mut flight = KeyBuilder::new(domain);
        for limit in [connect, first_token, idle] {
            flight.optional(limit.and_then(|limit| i64::try_from(limit.as_nanos()).ok()), |flight, nanos| {
                flight.integer(nanos);
            });
        }
        flight.list(keys.len());
        keys.for_each(|key| {
            flight.integer(i128::from_le_bytes(key.to_bytes()));
        });
        flight.finish()
    }

    fn stream_flight(&self, key: Key) -> Key {
        self.flight("edgequake/stream-flight/1", [key].into_iter())
    }
}

/// What the caches know of a chat call. Costs a hash of the request and never waits.
pub fn recall_chat(route: &Route, request: &ChatRequest) -> Recall<Response, Chat> {
    let started = Instant::now();
    if route.chat_caches(request).next().is_none() {
        return Recall::Unknown(Chat(None));
    }
    let key = chat_key(route.name(), route.endpoint.base_url(), request);
    for (level, cache) in route.chat_caches(request).enumerate() {
        let (answer, stale) = match cache.get(key) {
            Lookup::Hit(Stored::Answer(answer)) => (answer, false),
            Lookup::Stale(Stored::Answer(answer)) => (answer, true),
            _ => continue,
        };
        cache.add_saved(&answer, &request.model);
        if stale {
            refresh_chat(route, request, key, cache);
        } else {
            route.chat_caches(request).take(level).for_each(|outer| outer.keep(key, &answer));
        }
        return Recall::Known(answer.recall(started.elapsed()));
    }
    Recall::Unknown(Chat(Some(key)))
}

/// Fetches an answer anew while the stale one is served.
fn refresh_chat(route: &Route, request: &ChatRequest, key: Key, cache: &Arc<LlmCache>) {
    let refreshing = Refreshing { cache: cache.clone(), keys: vec![key] };
    let Ok(generation) = generation() else { return };
    let (route, request) = (route.clone(), ChatRequest { stream: false, ..request.clone() });
    generation.spawn(async move {
        let clock = Clock::start(route.endpoint.timeouts);
        // The failure is nobody's: whoever reads next tries again, or gets it once the stale value is gone.
        let _ = share_chat(&route, &request, key, &clock, true).await;
        drop(refreshing);
    });
}

/// Asks for what [`recall_chat`] did not find. Must run on the I/O thread.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind); the error names the provider and tells how many requests were sent.
pub async fn ask_chat(route: Route, request: Box<ChatRequest>, place: Chat) -> Result<Completed<Response>, Error> {
    let Some(key) = place.0 else {
        // In a box of the I/O thread's own: so what the two threads pass to each other is small.
        let asked = Box::pin(super::unary::chat(&route, request)).await;
        return asked.map_err(|error| route.endpoint.named(error));
    };
    let clock = Clock::start(route.endpoint.timeouts);
    let shared = Box::pin(share_chat(&route, &request, key, &clock, false)).await;
    let (completed, pays) = shared.map_err(|error| route.endpoint.named(error))?;
    if pays && !completed.meta.cached {
        return Ok(Arc::unwrap_or_clone(completed));
    }
    let answer = Arc::new(Answer::new(&completed, route.name()));
    let mut caches = route.chat_caches(&request).rev();
    if let Some(innermost) = caches.next() {
        innermost.add_shared();
        innermost.add_saved(&answer, &request.model);
    }
    // The one who asked has other outer caches, perhaps.
    caches.filter(|cache| !cache.contains(key)).for_each(|cache| cache.keep(key, &answer));
    Ok(answer.recall(clock.elapsed()))
}

async fn share_chat(
    route: &Route,
    request: &ChatRequest,
    key: Key,
    clock: &Clock,
    anew: bool,
) -> Result<(Arc<Completed<Response>>, bool), Error> {
    let Some(innermost) = route.chat_caches(request).next_back() else {
        return Ok((Arc::new(super::unary::chat(route, Box::new(request.clone())).await?), true));
    };
    if let Some(mut stream) = innermost.streams.join(route.stream_flight(key)) {
        let _drives = stream.seen().clone().drive();
        match clock.within_total(stream.landed()).await? {
            // What a stream cannot do once something was read of it, a whole call can: ask again.
            Err(error) if error.partial().is_some() || stream.was_hasty(&error) => {}
            landed => return landed,
        }
    }
    let flight = route.flight("edgequake/chat-flight/1", [key].into_iter());
    let work = || {
        let (route, request) = (route.clone(), request.clone());
        async move {
            // An equal call may have landed between the look-up and now.
            let landed = if anew { None } else { landed(&route, &request, key) };
            if let Some(answer) = landed {
                return Ok(answer.recall(Duration::ZERO));
            }
            let caches: Vec<_> = route.chat_caches(&request).cloned().collect();
            // By the one who began it: the others may have other keys, and would not know this one's.
            let asked = super::unary::chat(&route, Box::new(request)).await;
            let completed = asked.map_err(|error| route.endpoint.named(error))?;
            caches.iter().for_each(|cache| {
                cache.keep_answer(key, &completed, route.name());
            });
            Ok(completed)
        }
    };
    innermost.chats.fly(flight, clock, work).await
}

/// The answer that has come since the look-up, if one has. Not counted: the look-up was.
fn landed(route: &Route, request: &ChatRequest, key: Key) -> Option<Arc<Answer>> {
    route.chat_caches(request).find_map(|cache| match cache.peek(key) {
        Some(Stored::Answer(answer)) => Some(answer),
        _ => None,
    })
}

/// As [`ask_chat`], for a stream. Equal streams share one request: whoever comes later is given at once what has come
/// already, and follows. It does not wait for an equal call that is no stream, whose first token comes with its last.
///
/// Events go to `sender` as they come, and its end is the last thing it is told. A failure before the first event was handed
/// over is tried again; after it, never: the request would be billed twice and the text would come twice.
pub async fn ask_stream(route: Route, request: Box<ChatRequest>, place: Chat, sender: Sender) {
    let innermost = route.chat_caches(&request).next_back().cloned();
    let outcome = match place.0.zip(innermost) {
        None => Box::pin(super::stream::stream(&route, request, &sender)).await,
        Some((key, innermost)) => {
            if let Some(answer) = landed(&route, &request, key) {
                innermost.add_shared();
                innermost.add_saved(&answer, &request.model);
                return replay(answer.recall(Duration::ZERO), sender);
            }
            Box::pin(share_stream(&route, &request, key, &innermost, &sender)).await
        }
    };
    sender.finish(outcome.map(Box::new).map_err(|error| route.endpoint.named(error)));
}

async fn share_stream(
    route: &Route,
    request: &ChatRequest,
    key: Key,
    innermost: &LlmCache,
    sender: &Sender,
) -> Result<Completed<Response>, Error> {
    let clock = Clock::start(route.endpoint.timeouts);
    let work = |tape: &Arc<Tape>| {
        let (route, request, tape) = (route.clone(), request.clone(), tape.clone());
        async move {
            let caches: Vec<_> = route.chat_caches(&request).cloned().collect();
            let outcome = super::stream::stream(&route, Box::new(request), &*tape).await;
            let completed = outcome.map_err(|error| route.endpoint.named(error))?;
            caches.iter().for_each(|cache| {
                cache.keep_answer(key, &completed, route.name());
            });
            Ok(completed)
        }
    };
    let (completed, pays) = loop {
        let mut aboard = innermost.streams.board(route.stream_flight(key), Arc::default, work);
        match follow(&mut aboard, &clock, sender, &request.model).await? {
            Err(error) if aboard.was_hasty(&error) => {}
            outcome => break outcome?,
        }
    };
    // Each reader's times are its own.
    let mut metrics = sender.metrics();
    metrics.finish(clock.elapsed());
    if let Some(usage) = &completed.value.usage {
        metrics.set_tokens(usage.prompt_tokens(), usage.completion_tokens());
    }
    let mut completed = if pays {
        Arc::unwrap_or_clone(completed)
    } else {
        let answer = Arc::new(Answer::new(&completed, route.name()));
        innermost.add_shared();
        innermost.add_saved(&answer, &request.model);
        // The one who asked has other outer caches, perhaps.
        let outer = route.chat_caches(request).filter(|cache| !cache.contains(key));
        outer.for_each(|cache| cache.keep(key, &answer));
        answer.recall(Duration::ZERO)
    };
    completed.meta.metrics = metrics;
    Ok(completed)
}

/// What the reader of a shared stream gets in the end: the answer, and whether it is the one that pays.
type Shared = Result<(Arc<Completed<Response>>, bool), Error>;

/// Plays the tape of a stream from its beginning to its end, as fast as the reader takes it. The outer error is this reader's
/// alone: its total time is over.
async fn follow(
    aboard: &mut Aboard<Completed<Response>, Arc<Tape>>,
    clock: &Clock,
    sender: &Sender,
    model: &str,
) -> Result<Shared, Error> {
    let mut playing = aboard.seen().clone().play(sender);
    let played = clock.within_total(async {
        let landed = tokio::select! {
            biased;
            () = playing.on(clock) => Err(Error::new(ErrorKind::Internal, "a tape has no end of its own")),
            landed = aboard.landed() => landed,
        };
        playing.rest(clock).await;
        landed
    });
    played.await.map_err(|error| match playing.so_far(model) {
        Some(partial) => error.with_partial(partial),
        None => error,
    })
}

/// Plays a whole answer as a stream that has ended, in as few events as it can be told in.
pub fn replay(completed: Completed<Response>, sender: Sender) {
    let mut answer = Assembly::new();
    answer.replay(&completed.value);
    sender.push(answer.events(), Duration::ZERO);
    sender.finish(Ok(Box::new(completed)));
}

/// What the caches know of some texts' vectors. Costs a hash of each text and never waits.
pub fn recall_embed(route: &Route, request: &EmbedRequest) -> Recall<Embeddings, Texts> {
    let started = Instant::now();
    if route.embed_caches().next().is_none() {
        return Recall::Unknown(Texts::default());
    }
    let keys = embed_keys(route.name(), route.endpoint.base_url(), request);
    let mut stale: Vec<(Arc<LlmCache>, Vec<usize>)> = Vec::new();
    let known: Vec<_> =
        keys.iter().enumerate().map(|(place, key)| recall_vector(route, request, *key, place, &mut stale)).collect();
    for (cache, places) in stale {
        refresh_embed(route, request, &keys, &places, cache);
    }
    let texts = Texts { keys, known };
    // Vectors of different lengths: the model has changed, and what is known is of no use.
    if texts.known.iter().any(Option::is_none) || texts.mixed() {
        Recall::Unknown(texts)
    } else {
        Recall::Known(texts.all_known(&request.model, started.elapsed()))
    }
}

fn recall_vector(
    route: &Route,
    request: &EmbedRequest,
    key: Key,
    place: usize,
    stale: &mut Vec<(Arc<LlmCache>, Vec<usize>)>,
) -> Option<Arc<[f32]>> {
    for (level, cache) in route.embed_caches().enumerate() {
        let (vector, tokens, old) = match cache.get(key) {
            Lookup::Hit(Stored::Vector(vector, tokens)) => (vector, tokens, false),
            Lookup::Stale(Stored::Vector(vector, tokens)) => (vector, tokens, true),
            _ => continue,
        };
        cache.add_saved_texts(route.name(), &request.model, u64::from(tokens));
        if !old {
            route.embed_caches().take(level).for_each(|outer| outer.keep_vector(key, &vector, tokens));
        } else if let Some((_, places)) = stale.iter_mut().find(|(known, _)| Arc::ptr_eq(known, cache)) {
            places.push(place);
        } else {
            stale.push((cache.clone(), vec![place]));
        }
        return Some(vector);
    }
    None
}

fn refresh_embed(route: &Route, request: &EmbedRequest, keys: &[Key], places: &[usize], cache: Arc<LlmCache>) {
    let keys: Vec<_> = places.iter().filter_map(|place| keys.get(*place).copied()).collect();
    let refreshing = Refreshing { cache, keys: keys.clone() };
    let Ok(generation) = generation() else { return };
    let inputs = places.iter().filter_map(|place| request.inputs.get(*place).cloned()).collect();
    let (route, request) = (route.clone(), EmbedRequest { inputs, ..with_no_inputs(request) });
    generation.spawn(async move {
        let clock = Clock::start(route.endpoint.timeouts);
        let _ = share_embed(&route, &request, &keys, &clock, true).await;
        drop(refreshing);
    });
}

fn with_no_inputs(request: &EmbedRequest) -> EmbedRequest {
    let EmbedRequest { model, inputs: _, dimensions, task_type, extra } = request;
    EmbedRequest {
        model: model.clone(),
        inputs: Vec::new(),
        dimensions: *dimensions,
        task_type: task_type.clone(),
        extra: extra.clone(),
    }
}

impl Texts {
    /// Whether the known vectors differ in length.
    fn mixed(&self) -> bool {
        let mut lengths = self.known.iter().flatten().map(|vector| vector.len());
        lengths.next().is_some_and(|first| lengths.any(|other| other != first))
    }

    fn all_known(&self, model: &str, elapsed: Duration) -> Completed<Embeddings> {
        let dims = self.known.iter().flatten().next().map_or(0, |vector| vector.len());
        let mut values = Vec::with_capacity(dims * self.known.len());
        self.known.iter().flatten().for_each(|vector| values.extend_from_slice(vector));
        let value = Embeddings { model: model.to_owned(), dims, values, usage: Some(Usage::default()) };
        Completed { value, meta: recalled(elapsed) }
    }

    /// The unknown texts, each once, in order, and where among them each text is that is not known.
    fn missing(&self) -> (Vec<usize>, Vec<Option<usize>>) {
        let mut firsts = Vec::new();
        let mut seen: HashMap<Key, usize> = HashMap::new();
        let places = self.keys.iter().zip(&self.known).enumerate().map(|(place, (key, known))| {
            known.is_none().then(|| {
                *seen.entry(*key).or_insert_with(|| {
                    firsts.push(place);
                    firsts.len() - 1
                })
            })
        });
        let places = places.collect();
        (firsts, places)
    }
}

fn recalled(elapsed: Duration) -> Meta {
    let mut metrics = Metrics::default();
    metrics.record_first_token(elapsed);
    metrics.finish(elapsed);
    Meta { attempts: 0, cached: true, metrics, ..Meta::default() }
}

/// Asks for the texts that [`recall_embed`] did not find, each once, and puts all vectors in order. Must run on the I/O
/// thread.
///
/// # Errors
/// As [`ask_chat`]. When a batch fails for good the others are stopped; [`Error::embedded`] holds the vectors that had come,
/// and those that were known.
pub async fn ask_embed(route: Route, request: EmbedRequest, texts: Texts) -> Result<Completed<Embeddings>, Error> {
    if texts.keys.is_empty() {
        return super::embed::embed(&route, request).await.map_err(|error| route.endpoint.named(error));
    }
    let clock = Clock::start(route.endpoint.timeouts);
    let mut texts = texts;
    let mut anew = texts.mixed();
    loop {
        if anew {
            texts.known.iter_mut().for_each(|known| *known = None);
        }
        let (firsts, places) = texts.missing();
        let keys: Vec<_> = firsts.iter().filter_map(|place| texts.keys.get(*place).copied()).collect();
        let inputs = firsts.iter().filter_map(|place| request.inputs.get(*place).cloned()).collect();
        let asked = EmbedRequest { inputs, ..with_no_inputs(&request) };
        let (fresh, pays) = match share_embed(&route, &asked, &keys, &clock, anew).await {
            Ok(shared) => shared,
            Err(error) => return Err(route.endpoint.named(with_all_places(error, &texts, &places))),
        };
        let shared = !pays || fresh.meta.cached;
        if shared && let Some(innermost) = route.embed_caches().next_back() {
            let tokens = fresh.value.usage.map_or(0, |usage| usage.prompt_tokens());
            innermost.add_shared();
            innermost.add_saved_texts(route.name(), &request.model, tokens);
        }
        let dims = fresh.value.dims;
        if texts.known.iter().flatten().any(|vector| vector.len() != dims) {
            // The model has changed behind its name; what was known is of no use. At most once: then nothing is known.
            anew = true;
            continue;
        }
        let Completed { mut value, mut meta } = Arc::unwrap_or_clone(fresh);
        if value.model.is_empty() {
            value.model.clone_from(&request.model);
        }
        if firsts.len() != texts.keys.len() {
            let mut values = Vec::with_capacity(dims * texts.keys.len());
            for (known, place) in texts.known.iter().zip(&places) {
                let fresh = place.and_then(|place| value.values.get(place * dims..(place + 1) * dims));
                values.extend_from_slice(known.as_deref().or(fresh).unwrap_or_default());
            }
            value.values = values;
        }
        if shared {
            meta = recalled(clock.elapsed());
            value.usage = Some(Usage::default());
        }
        return Ok(Completed { value, meta });
    }
}

async fn share_embed(
    route: &Route,
    request: &EmbedRequest,
    keys: &[Key],
    clock: &Clock,
    anew: bool,
) -> Result<(Arc<Completed<Embeddings>>, bool), Error> {
    let Some(innermost) = route.embed_caches().next_back() else {
        return Ok((Arc::new(super::embed::embed(route, request.clone()).await?), true));
    };
    let flight = route.flight("edgequake/embed-flight/1", keys.iter().copied());
    let work = || {
        let (route, request, keys) = (route.clone(), request.clone(), keys.to_vec());
        async move {
            if !anew && let Some(landed) = landed_vectors(&route, &keys) {
                return Ok(landed);
            }
            let lengths: Vec<_> = request.inputs.iter().map(String::len).collect();
            match super::embed::embed(&route, request).await.map_err(|error| route.endpoint.named(error)) {
                Ok(completed) => {
                    keep_vectors(&route, &keys, &lengths, &completed.value);
                    Ok(completed)
                }
                Err(error) => {
                    for (start, batch) in error.embedded() {
                        let of = |all: usize| *start..(*start + batch.len()).min(all);
                        let keys = keys.get(of(keys.len())).unwrap_or_default();
                        keep_vectors(&route, keys, lengths.get(of(lengths.len())).unwrap_or_default(), batch);
                    }
                    Err(error)
                }
            }
        }
    };
    innermost.embeds.fly(flight, clock, work).await
}

/// The vectors, if all of them have come since the look-up, with the tokens of their texts.
fn landed_vectors(route: &Route, keys: &[Key]) -> Option<Completed<Embeddings>> {
    let (mut value, mut tokens) = (Embeddings::default(), 0_u64);
    for key in keys {
        let (vector, of) = route.embed_caches().find_map(|cache| match cache.peek(*key) {
            Some(Stored::Vector(vector, tokens)) => Some((vector, tokens)),
            _ => None,
        })?;
        value.push(&vector).ok()?;
        tokens += u64::from(of);
    }
    value.usage = Some(Usage { input: tokens, ..Usage::default() });
    Some(Completed { value, meta: recalled(Duration::ZERO) })
}

/// Keeps each text's vector, with its share of the tokens by its length: the provider tells only their sum.
fn keep_vectors(route: &Route, keys: &[Key], lengths: &[usize], vectors: &Embeddings) {
    let tokens = u128::from(vectors.usage.map_or(0, |usage| usage.prompt_tokens()));
    let whole = lengths.iter().sum::<usize>().max(1) as u128;
    let (mut read, mut counted) = (0_u128, 0_u128);
    for ((key, length), vector) in keys.iter().zip(lengths).zip(vectors.values.chunks_exact(vectors.dims.max(1))) {
        read += *length as u128;
        let share = tokens * read / whole - counted;
        counted += share;
        let vector: Arc<[f32]> = vector.into();
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        route.embed_caches().for_each(|cache| cache.keep_vector(*key, &vector, share));
    }
}

/// The error of a request for the missing texts as one for all texts: every vector there is, by the place of its text.
fn with_all_places(error: Error, texts: &Texts, places: &[Option<usize>]) -> Error {
    let one = |vector: &[f32]| Embeddings { dims: vector.len(), values: vector.to_vec(), ..Embeddings::default() };
    let fresh = |missing: usize| {
        error.embedded().iter().find_map(|(start, batch)| {
            let row = missing.checked_sub(*start)?;
            batch.values.get(row * batch.dims..(row + 1) * batch.dims).filter(|vector| !vector.is_empty())
        })
    };
    let all = texts.known.iter().zip(places).enumerate();
    let vectors = all.filter_map(|(place, (known, missing))| {
        let vector = known.as_deref().or_else(|| fresh((*missing)?))?;
        Some((place, one(vector)))
    });
    let vectors = vectors.collect();
    error.with_embedded(vectors)
}
