//! Which providers a model's name stands for.

mod forward;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use llm_core::{Error, ErrorKind, Model, ModelId, ProviderId, Strictness, Tick};
use llm_router::{SmartRouter, Strategy, TargetHealth};

use crate::builder::{ModelConfig, TermsOf};
use crate::circuits::Circuit;
use crate::upstream::{Target, Upstream};

/// The candidates that a model's name stands for, and who chooses among them.
pub(crate) struct Route {
    /// The configured name; none for a provider's model addressed directly.
    pub(crate) name: Option<ModelId>,
    pub(crate) targets: Vec<Target>,
    pub(crate) router: Arc<SmartRouter>,
    /// The configuration behind it; none for a provider's model addressed directly.
    pub(crate) made_of: Option<ModelConfig>,
    pub(crate) tally: Tally,
    /// Why it is asked nowhere else than it says, where that is not the configuration's doing.
    pub(crate) pinned: Option<Box<str>>,
}

/// How often limits let an attempt pass, and how often not. Relaxed: for display.
#[derive(Default)]
pub(crate) struct Tally {
    allowed: AtomicU64,
    denied: AtomicU64,
    /// Of a part of a route: the whole, which counts for both.
    whole: Option<Arc<Route>>,
}

impl Tally {
    /// The tally of a part of `whole`.
    pub(crate) fn of_part(whole: Arc<Route>) -> Self {
        Self { whole: Some(whole), ..Self::default() }
    }

    pub(crate) fn allow(&self) {
        match &self.whole {
            Some(whole) => whole.tally.allow(),
            None => drop(self.allowed.fetch_add(1, Relaxed)),
        }
    }

    pub(crate) fn deny(&self) {
        match &self.whole {
            Some(whole) => whole.tally.deny(),
            None => drop(self.denied.fetch_add(1, Relaxed)),
        }
    }
}

/// How often limits let calls of a model pass, and how often none was fast enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTally {
    /// The model.
    pub model: ModelId,
    /// Calls that passed.
    pub allowed: u64,
    /// Requests and calls that did not.
    pub denied: u64,
    /// Requests for which no target was known to be fast enough, where the strategy asks for that.
    pub sla_misses: u64,
}

/// What is known of the targets of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelBalance {
    /// The model.
    pub model: ModelId,
    /// Who is asked first.
    pub strategy: Strategy,
    /// Requests for which no target was known to be fast enough.
    pub total_sla_misses: u64,
    /// The targets, by provider and model.
    pub targets: Vec<TargetHealth>,
}

impl Route {
    /// What becomes of fields that a target has no equal for.
    pub(crate) fn strictness(&self) -> Strictness {
        self.made_of.as_ref().map(|model| model.translation).unwrap_or_default()
    }

    /// Whether thoughts are told to callers whose dialect has no place for them.
    pub(crate) fn shows_thoughts(&self) -> bool {
        self.made_of.as_ref().is_some_and(|model| model.show_thoughts)
    }

    /// `error`, and that nobody else was to be asked, where that is so.
    pub(crate) fn told(&self, error: Error) -> Error {
        match &self.pinned {
            Some(why) => error.because(why.to_string()),
            None => error,
        }
    }

    /// What the route's target `index` is called at the levels of targets, asked by its key `key`.
    pub(crate) fn names(&self, index: usize, key: usize) -> [(&'static str, String); 3] {
        let target = &self.targets[index];
        let model = match &self.name {
            Some(name) => name.to_string(),
            None => format!("{}/{}", target.provider(), target.model),
        };
        let key = target.upstream.keys[key].name.to_string();
        [("provider_key", key), ("model", model), ("provider", target.provider().to_string())]
    }
}

/// Where a name goes that is no configured model and names no provider.
#[derive(Clone, Debug, Default)]
pub enum DefaultRoute {
    /// Nowhere: 404.
    #[default]
    None,
    /// To this provider, as the name of one of its models.
    Provider(ProviderId),
    /// To the provider that this router chooses among those whose names it has, as the name of one of its models.
    Any(SmartRouter),
}

/// A [`DefaultRoute`] whose providers are found.
pub(crate) enum Default {
    None,
    Provider(Arc<Upstream>),
    Any(Arc<SmartRouter>, Box<[Arc<Upstream>]>),
}

/// All names.
pub(crate) struct Routes {
    pub(crate) models: HashMap<ModelId, Arc<Route>>,
    /// The configured names in their order.
    pub(crate) listed: Vec<ModelId>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// Any configured target will do.
    pub(crate) auto: Option<Arc<Route>>,
    pub(crate) default: Default,
    /// Who is asked what names no model, where that is passed on as it is.
    pub(crate) forward_to: Option<Arc<Upstream>>,
    /// Unix seconds at which the configuration was read, as the models' birthday.
    pub(crate) created: u64,
    /// Tells the terms of models that are addressed directly and that no target names.
    pub(crate) terms: TermsOf,
}

/// The name that lets the router pick among all targets.
pub(crate) const AUTO: &str = "auto";

impl Routes {
    /// First an exact name; then `provider/model`, cut at the first `/`; then `auto`; then the default.
    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Route>, Error> {
        if let Some(route) = self.models.get(name) {
            return Ok(route.clone());
        }
        if let Some((provider, model)) = name.split_once('/')
            && !model.is_empty()
            && let Some(upstream) = self.upstream(provider)
        {
            return Ok(self.direct(upstream, model));
        }
        if name == AUTO
            && let Some(route) = &self.auto
        {
            return Ok(route.clone());
        }
        match &self.default {
            Default::None => {}
            Default::Provider(upstream) => return Ok(self.direct(upstream, name)),
            Default::Any(router, upstreams) => return Ok(self.directs(upstreams, router, name)),
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("the model `{name}` does not exist or you do not have access to it"),
        )
        .with_param("model")
        .with_code("model_not_found"))
    }

    pub(crate) fn upstream(&self, provider: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.id == *provider)
    }

    pub(crate) fn direct(&self, upstream: &Arc<Upstream>, model: &str) -> Arc<Route> {
        self.directs(std::slice::from_ref(upstream), &upstream.only, model)
    }

    /// The model of that name of each of `upstreams`, which `router` chooses from.
    fn directs(&self, upstreams: &[Arc<Upstream>], router: &Arc<SmartRouter>, model: &str) -> Arc<Route> {
        let id = ModelId::from(model);
        let target = |upstream: &Arc<Upstream>| {
            let configured = upstream.terms.get(&id).copied();
            let terms = configured.unwrap_or_else(|| (self.terms)(&upstream.id, &id));
            Target::new(upstream.clone(), id.clone(), terms, upstream.direct.clone())
        };
        Arc::new(Route {
            name: None,
            targets: upstreams.iter().map(target).collect(),
            router: router.clone(),
            made_of: None,
            tally: Tally::default(),
            pinned: None,
        })
    }

    /// The models that callers may name, as a list shows them.
    pub(crate) fn list(&self) -> Vec<Model> {
        let auto = (self.auto.is_some() && !self.models.contains_key(AUTO)).then(|| ModelId::from(AUTO));
        self.listed.iter().chain(auto.iter()).map(|id| self.show(id.as_str())).collect()
    }

    /// The model that `name` stands for.
    pub(crate) fn find(&self, name: &str) -> Result<Model, Error> {
        self.resolve(name).map(|_| self.show(name))
    }

    fn show(&self, name: &str) -> Model {
        let owner = self.resolve(name).map_or_else(|_| GATEWAY.to_owned(), |route| owner(&route).to_owned());
        Model { id: name.to_owned(), created: self.created, owned_by: owner }
    }

    /// The router of a model that is configured just so.
    pub(crate) fn router_of(&self, model: &ModelConfig) -> Option<Arc<SmartRouter>> {
        let mut routes = self.models.get(&model.name).into_iter().chain(&self.auto);
        routes.find(|route| route.made_of.as_ref() == Some(model)).map(|route| route.router.clone())
    }

    /// What is known of the targets of each configured model.
    pub(crate) fn balance(&self, now: Tick) -> Vec<ModelBalance> {
        let balance = |model: &ModelId| {
            let router = &self.models[model].router;
            ModelBalance {
                model: model.clone(),
                strategy: router.config().strategy,
                total_sla_misses: router.total_sla_misses(),
                targets: router.health(now),
            }
        };
        self.listed.iter().map(balance).collect()
    }

    pub(crate) fn tallies(&self) -> Vec<ModelTally> {
        let tally = |model: &ModelId| {
            let Route { tally, router, .. } = &*self.models[model];
            let (allowed, denied) = (tally.allowed.load(Relaxed), tally.denied.load(Relaxed));
            ModelTally { model: model.clone(), allowed, denied, sla_misses: router.total_sla_misses() }
        };
        self.listed.iter().map(tally).collect()
    }

    pub(crate) fn circuits(&self, now: Tick) -> Vec<Circuit> {
        let keys = self.upstreams.iter().flat_map(|upstream| upstream.keys.iter());
        keys.flat_map(|key| key.circuits.show(now)).collect()
    }
}

/// The provider of a model with one, else the gateway.
fn owner(route: &Route) -> &str {
    match route.targets.as_slice() {
        [target] => target.provider().as_str(),
        _ => GATEWAY,
    }
}

/// Who owns a model that several providers answer for.
const GATEWAY: &str = "llmkit";
