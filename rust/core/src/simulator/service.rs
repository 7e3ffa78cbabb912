//! From a request to its answer: what was asked, what the script and the limits say to it, and the response.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Incoming;

use super::{
    answer::{Answer, DEFAULT_TEXT, DEFAULT_THINKING, Finish, Text, quoted},
    ask::{self, Ask, ToolChoice},
    body::{AnswerBody, Pace},
    books::{Books, Outcome, RecordedRequest, Records, Ticket},
    config::SimulatorConfig,
    connection::{Connection, Ending, lock},
    control,
    dialect::{self, Problem},
    history,
    limits::{Limits, Meters, Refusal, Scarce},
    lists,
    playback::{Playback, Source},
    prompts::{CacheCounts, Prompts},
    route::{Dialect, NoRoute, Operation, route},
    sample,
    script::{Fault, Overrides, Payload, Reply, Script, ToolCall},
    stored::Stored,
    times::{GoDuration, unix_seconds},
};

/// Where the counters can be read over HTTP, without being counted.
pub(super) const STATS_PATH: &str = "/simulator/stats";

/// Everything that the connections of a simulator share.
pub(super) struct State {
    pub(super) config: SimulatorConfig,
    pub(super) books: Arc<Books>,
    pub(super) script: Mutex<Script>,
    pub(super) records: Mutex<Records>,
    prompts: Mutex<Prompts>,
    stored: Mutex<Stored>,
    limits: Arc<Mutex<Limits>>,
    text: Text,
    started: Instant,
}

impl State {
    pub(super) fn new(config: SimulatorConfig) -> Self {
        let text = Text::new(config.text.as_deref().unwrap_or(DEFAULT_TEXT));
        let limits = Limits::new(
            config.requests_per_minute,
            config.tokens_per_minute,
            config.limit_window,
            config.max_concurrent,
        );
        Self {
            text: config.tokens.map_or_else(|| text.clone(), |tokens| text.with_count(tokens)),
            books: Arc::default(),
            script: Mutex::default(),
            records: Mutex::new(Records::new(config.record_limit)),
            prompts: Mutex::default(),
            stored: Mutex::default(),
            limits: Arc::new(Mutex::new(limits)),
            started: Instant::now(),
            config,
        }
    }

    /// The randomness of one request: the same again for the same seed and number.
    fn rng(&self, number: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.config.seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn record(&self, number: u64, connection: u64, parts: &Parts, body: &Bytes) {
        if self.config.record {
            lock(&self.records).push(RecordedRequest {
                number,
                connection,
                version: parts.version,
                method: parts.method.clone(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().map(str::to_owned),
                headers: parts.headers.clone(),
                body: body.clone(),
            });
        }
    }

    /// Lets the request in, or says why not; and what is left of the limits after it.
    fn admit(&self, ticket: &mut Ticket, tokens: u64) -> (Result<(), Refusal>, Meters) {
        let mut limits = lock(&self.limits);
        let admitted = limits.admit(self.started.elapsed(), tokens);
        if admitted.is_ok() {
            ticket.admitted(&self.limits);
        }
        let meters = limits.meters(if admitted.is_ok() { tokens } else { 0 });
        (admitted, meters)
    }

    fn meters(&self) -> Meters {
        lock(&self.limits).meters(0)
    }
}

fn refused(&Refusal { scarce, wait }: &Refusal) -> Problem {
    let what = match scarce {
        Scarce::Requests => "requests per minute",
        Scarce::Tokens => "tokens per minute",
        Scarce::Concurrency => "requests at once",
    };
    let message = format!("Rate limit reached for {what} (simulated). Please try again in {}.", GoDuration(wait));
    Problem { wait: Some(wait), scarce: Some(scarce), ..Problem::new(429, message) }
}

/// What will be sent, before it is put in time.
struct Prepared {
    status: u16,
    headers: HeaderMap,
    source: Source,
    /// How long a unary answer takes; streams and scripted bodies take their time piece by piece.
    thinking: Option<Duration>,
}

/// Answers one request.
pub(super) async fn serve(
    state: Arc<State>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let h2 = request.version() == Version::HTTP_2;
    let (parts, body) = request.into_parts();
    if parts.uri.path() == STATS_PATH {
        return Ok(stats(&state, connection, h2));
    }
    let mut ticket = Ticket::new(&state.books, h2);
    let mut rng = state.rng(ticket.number);
    let id = format!("{:016x}{:08x}", rng.u64(..), ticket.number);
    let (mut dialect, operation) = route(&parts.method, parts.uri.path(), parts.uri.query());
    if operation == Ok(Operation::Models) && parts.headers.contains_key("anthropic-version") {
        dialect = Dialect::Anthropic; // The path is OpenAI's too.
    }
    let Ok(body) = body.collect().await.map(Collected::to_bytes) else {
        // The client broke off in the middle of its request.
        ticket.settle(Outcome::Aborted);
        return if h2 { std::future::pending().await } else { break_off(ticket, &connection, Ending::Close).await };
    };
    state.record(ticket.number, connection.number, &parts, &body);

    let reply = lock(&state.script).take(parts.uri.path());
    let scripted = reply.is_some();
    let Reply { headers, payload, overrides, .. } = reply.unwrap_or_default();
    let control = parts.headers.get(control::HEADER).map(|value| control::parse(value.to_str().unwrap_or("?")));
    let (overrides, complaint) = match control.transpose() {
        Ok(control) => (overrides.or(control.unwrap_or_default()), None),
        Err(complaint) => (overrides, Some(complaint)),
    };
    if let Some(delay) = overrides.delay {
        tokio::time::sleep(delay).await;
    }
    let fault = overrides.fault.clone().unwrap_or_default();
    match &fault {
        Fault::CloseBeforeHeaders => return break_off(ticket, &connection, Ending::Close).await,
        Fault::Raw(bytes) => return break_off(ticket, &connection, Ending::Raw(bytes.clone())).await,
        _ => {}
    }

    let mut work = Work { state: &state, dialect, overrides, id, rng, ticket: &mut ticket };
    let mut prepared = match complaint {
        Some(complaint) => work.problem(&Problem::new(400, complaint), state.meters()),
        None => work.prepare(operation, payload, &body, scripted),
    };
    let Work { overrides, id, rng, .. } = work;
    let config = &state.config;
    let mut pace = Pace {
        ttft: overrides.ttft.unwrap_or(config.ttft),
        gap: overrides.gap.unwrap_or(config.gap),
        jitter: overrides.jitter.unwrap_or(config.jitter),
        rng,
    };
    if let Some(thinking) = prepared.thinking {
        pace.ttft = Duration::ZERO;
        if !thinking.is_zero() {
            tokio::time::sleep(pace.vary(thinking)).await;
        }
    }
    if matches!(prepared.status, 204 | 304) {
        prepared.source = Source::Whole(Bytes::new()); // HTTP allows them no body.
    }
    if prepared.status == 429 {
        state.books.rate_limited();
    }
    for (name, value) in headers {
        // `Reply::check` has seen to it that both are valid.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            prepared.headers.insert(name, value);
        }
    }
    let gzip = overrides.gzip.unwrap_or_else(|| config.gzip && accepts_gzip(&parts.headers));
    if gzip {
        prepared.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let error_event = match &fault {
        Fault::ErrorAfter { status, .. } => dialect.error_event(&Problem::simulated(*status), &id).into(),
        _ => Bytes::new(),
    };
    let chunk = overrides.chunk_events.unwrap_or(config.chunk_events);
    let playback = Playback::new(prepared.source, chunk, gzip, fault, error_event);
    let body = AnswerBody::new(playback, pace, dialect.keep_alive(), ticket, connection, h2);
    Ok(response(prepared.status, prepared.headers, body))
}

fn response(status: u16, headers: HeaderMap, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    *response.headers_mut() = headers;
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| coding.trim().starts_with("gzip"))
}

/// Ends the connection in place of an answer. Hyper drops this future with the connection.
async fn break_off<T>(mut ticket: Ticket, connection: &Connection, ending: Ending) -> T {
    ticket.settle(Outcome::Faulted);
    connection.end(ending);
    std::future::pending().await
}

/// The counters as JSON.
fn stats(state: &State, connection: Arc<Connection>, h2: bool) -> Response<AnswerBody> {
    let body = serde_json::to_vec(&state.books.stats()).unwrap_or_default();
    let playback = Playback::new(Source::Whole(body.into()), 1, false, Fault::None, Bytes::new());
    let pace = Pace { ttft: Duration::ZERO, gap: Duration::ZERO, jitter: 0.0, rng: state.rng(0) };
    let ticket = Ticket::new(&Arc::default(), h2);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response(200, headers, AnswerBody::new(playback, pace, "", ticket, connection, h2))
}

/// One request being worked on.
struct Work<'a> {
    state: &'a State,
    dialect: Dialect,
    overrides: Overrides,
    /// The id of the answer and of its request, in hexadecimal digits.
    id: String,
    rng: fastrand::Rng,
    ticket: &'a mut Ticket,
}

impl Work<'_> {
    /// Decides what to send.
    fn prepare(
        &mut self,
        operation: Result<Operation, NoRoute>,
        payload: Payload,
        body: &[u8],
        scripted: bool,
    ) -> Prepared {
        let source = match payload {
            Payload::Normal => return self.normal(operation, body, scripted),
            Payload::Whole(body) => Source::Whole(body),
            Payload::Pieces(pieces) => Source::Pieces(pieces.into_iter()),
        };
        let status = self.overrides.status.unwrap_or(200);
        let asked = operation.ok().and_then(|operation| ask::read(self.dialect, &operation, body).ok());
        let (stream, sse) = asked.map_or((false, false), |ask| (ask.stream && status < 400, ask.sse));
        let headers = self.headers(&self.state.meters(), stream, sse);
        Prepared { status, headers, source, thinking: None }
    }

    fn normal(&mut self, operation: Result<Operation, NoRoute>, body: &[u8], scripted: bool) -> Prepared {
        let state = self.state;
        let operation = match operation {
            Ok(operation) => operation,
            Err(NoRoute::Path) => return self.nowhere(404, "unknown_url", "The simulator has no such path."),
            Err(NoRoute::Method) => return self.nowhere(405, "method_not_allowed", "Not with this method."),
        };
        if let Some(status) = self.overrides.status.filter(|status| *status >= 400) {
            let wait = self.overrides.retry_after.or((status == 429).then_some(Duration::from_secs(1)));
            let problem = Problem { wait, code: self.overrides.error.clone(), ..Problem::simulated(status) };
            return self.problem(&problem, state.meters());
        }
        let ask = match ask::read(self.dialect, &operation, body) {
            Ok(ask) => ask,
            Err(complaint) => return self.problem(&Problem::new(400, complaint), state.meters()),
        };
        if let Some(source) = match self.other(&operation, body) {
            Ok(source) => source,
            Err(problem) => return self.problem(&problem, state.meters()),
        } {
            let headers = self.headers(&state.meters(), false, false);
            let thinking = Some(self.overrides.ttft.unwrap_or(Duration::ZERO));
            return Prepared { status: self.overrides.status.unwrap_or(200), headers, source, thinking };
        }
        let before = match ask.respond.as_ref().map(|asked| lock(&state.stored).before(asked)).transpose() {
            Ok(before) => before.unwrap_or_default(),
            Err(problem) => return self.problem(&problem, state.meters()),
        };
        let cache = match self.cache(&ask, &operation, body) {
            Ok(cache) => cache,
            Err(problem) => return self.problem(&problem, state.meters()),
        };
        let mut answer = self.answer(&ask, body);
        answer.prompt_tokens += before.tokens;
        if ask.cached_content.is_some() {
            // What is stored stands in front of the request's own prompt.
            answer.prompt_tokens += cache.read;
        }
        answer.cache = cache;
        let tokens = match operation {
            Operation::Chat | Operation::Generate { .. } => answer.prompt_tokens + answer.completion_tokens(),
            _ => ask.inputs.iter().map(|text| dialect::text_tokens(text)).sum(),
        };
        let (admitted, meters) = if scripted { (Ok(()), state.meters()) } else { state.admit(self.ticket, tokens) };
        if let Err(refusal) = admitted {
            return self.problem(&refused(&refusal), meters);
        }
        if !scripted && self.rng.f64() < state.config.failure_rate {
            return self.problem(&Problem::simulated(state.config.failure_status), meters);
        }
        if let Some(asked) = &ask.respond {
            lock(&state.stored).keep(asked, &answer);
        }
        let ttft = self.overrides.ttft.unwrap_or(state.config.ttft);
        let gap = self.overrides.gap.unwrap_or(state.config.gap);
        let generating = gap.saturating_mul(u32::try_from(answer.completion_tokens()).unwrap_or(u32::MAX));
        let (source, thinking) = match operation {
            Operation::Embed | Operation::EmbedContent { .. } => {
                let dims = ask.dims.unwrap_or(state.config.embedding_dims);
                (Source::Whole(self.dialect.embeddings(&ask, dims)), Some(ttft))
            }
            _ if ask.stream => (Source::Events(self.dialect.stream(&answer, &ask)), None),
            _ => (Source::Whole(self.dialect.unary(&answer, &ask)), Some(ttft + generating)),
        };
        let status = self.overrides.status.unwrap_or(200);
        Prepared { status, headers: self.headers(&meters, ask.stream, ask.sse), source, thinking }
    }

    /// The answer to what asks no model; `None` for what does.
    fn other(&self, operation: &Operation, body: &[u8]) -> Result<Option<Source>, Problem> {
        let text = match operation {
            Operation::Models => lists::models(self.dialect),
            Operation::Count => lists::count(self.dialect, body),
            Operation::Rerank => lists::rerank(body, &self.id).map_err(|complaint| Problem::new(400, complaint))?,
            Operation::Cached { verb, name } => {
                let mut prompts = lock(&self.state.prompts);
                prompts.store(*verb, name.as_deref(), body, &self.id, SystemTime::now())?.to_string()
            }
            Operation::Chat | Operation::Embed | Operation::Generate { .. } | Operation::EmbedContent { .. } => {
                return Ok(None);
            }
        };
        Ok(Some(Source::Whole(text.into())))
    }

    /// What of the prompt was known, and what is remembered of it.
    fn cache(&self, ask: &Ask<'_>, operation: &Operation, body: &[u8]) -> Result<CacheCounts, Problem> {
        let mut prompts = lock(&self.state.prompts);
        match (self.dialect, operation, &ask.cache_key, &ask.cached_content) {
            (Dialect::Anthropic, Operation::Chat, _, _) => {
                prompts.anthropic(body).map_err(|complaint| Problem::new(400, complaint))
            }
            (Dialect::OpenAi | Dialect::Responses, Operation::Chat, Some((key, messages)), _) => {
                Ok(prompts.openai(key, messages))
            }
            (Dialect::Gemini, Operation::Generate { .. }, _, Some(name)) => prompts.gemini(name, SystemTime::now()),
            _ => Ok(CacheCounts::default()),
        }
    }

    /// What the model says.
    fn answer(&mut self, ask: &Ask<'_>, body: &[u8]) -> Answer {
        let calls = self.tool_calls(ask);
        let mut finish = if calls.is_empty() { Finish::Stop } else { Finish::Tools };
        let text = match (&self.overrides.text, &ask.schema) {
            (Some(text), _) => Some(Text::new(text)),
            (None, _) if !calls.is_empty() => None,
            (None, Some(schema)) => Some(Text::new(&sample::sample(schema).to_string())),
            (None, None) => Some(self.state.text.clone()),
        };
        let text = text.map(|text| match self.overrides.tokens {
            Some(tokens) => text.with_count(tokens),
            None => text,
        });
        let text = text.map(|text| match ask.max_tokens.filter(|max| *max < text.count()) {
            Some(max) => {
                finish = Finish::Length;
                text.with_count(max)
            }
            None => text,
        });
        let thinking = match &self.overrides.thinking {
            Some(thinking) => thinking.as_str(),
            None if ask.thinks => DEFAULT_THINKING,
            None => "",
        };
        Answer {
            id: self.id.clone(),
            created: unix_seconds(SystemTime::now()),
            model: quoted(&ask.model),
            thinking: Text::new(thinking),
            // What is scripted is there to be seen.
            secret: self.overrides.thinking.is_none() && ask.respond.as_ref().is_some_and(|asked| !asked.summary),
            signature: history::signature(thinking),
            text,
            calls,
            finish,
            prompt_tokens: (body.len() as u64).div_ceil(4),
            cache: CacheCounts::default(),
        }
    }

    /// The calls that are scripted, or that the request forces.
    fn tool_calls(&self, ask: &Ask<'_>) -> Vec<ToolCall> {
        let forced = |name| ask.tool(name).map(|(name, _)| ToolCall { name, arguments: String::new() });
        let mut calls = match (&self.overrides.tool_calls, &ask.tool_choice) {
            (Some(calls), _) => calls.clone(),
            (None, _) if self.overrides.text.is_some() => Vec::new(),
            (None, ToolChoice::Free) => Vec::new(),
            (None, ToolChoice::Any) => forced(None).into_iter().collect(),
            (None, ToolChoice::Named(name)) => forced(Some(name)).into_iter().collect(),
        };
        for call in calls.iter_mut().filter(|call| call.arguments.is_empty()) {
            let schema = ask.tool(Some(&call.name)).map(|(_, schema)| schema).filter(|schema| schema.is_object());
            call.arguments = schema.map_or_else(|| "{}".to_owned(), |schema| sample::sample(&schema).to_string());
        }
        calls
    }

    fn nowhere(&mut self, status: u16, code: &str, message: &str) -> Prepared {
        let problem = Problem { code: Some(code.to_owned()), ..Problem::new(status, message) };
        self.problem(&problem, self.state.meters())
    }

    fn problem(&mut self, problem: &Problem, meters: Meters) -> Prepared {
        let mut headers = self.headers(&meters, false, false);
        if let Some(wait) = problem.wait {
            self.dialect.retry_after(&mut headers, wait);
        }
        let body = self.dialect.error(problem, &self.id);
        Prepared { status: problem.status, headers, source: Source::Whole(body.into()), thinking: Some(Duration::ZERO) }
    }

    fn headers(&self, meters: &Meters, stream: bool, sse: bool) -> HeaderMap {
        let mut headers = self.dialect.headers(&self.id, meters, SystemTime::now());
        headers.insert(header::CONTENT_TYPE, self.dialect.content_type(stream, sse));
        headers
    }
}
