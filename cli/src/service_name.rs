//! From what a person types to a service that is there.

/// How alike two names must be for one to be taken for a slip of the other.
const ALIKE: f64 = 0.8;
/// More suggestions help nobody.
const SUGGESTIONS: usize = 3;

/// What a word on the command line means, among the services `namespace/name` that there are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    /// This one.
    Found(&'a str),
    /// A bare name that several namespaces have.
    Several(Vec<&'a str>),
    /// None; perhaps one of these was meant.
    Unknown(Vec<&'a str>),
}

/// Looks up `name`, `namespace/name`, `name.namespace`, or the whole DNS name `name.namespace.svc.cluster.local`.
pub(crate) fn look_up<'a>(wanted: &str, services: &[&'a str]) -> Lookup<'a> {
    let wanted = wanted.trim_end_matches('.');
    let (namespace, name) = parts(wanted);
    let same = services.iter().copied().filter(|service| {
        let (its_namespace, its_name) = split(service);
        its_name == name && namespace.is_none_or(|namespace| namespace == its_namespace)
    });
    match same.collect::<Vec<_>>().as_slice() {
        [] => Lookup::Unknown(alike(namespace, name, services)),
        [service] => Lookup::Found(service),
        several => Lookup::Several(several.to_vec()),
    }
}

/// Namespace, if one is given, and name.
fn parts(wanted: &str) -> (Option<&str>, &str) {
    if let Some((namespace, name)) = wanted.split_once('/') {
        return (Some(namespace), name);
    }
    // A Service's name has no dots, so the first one ends it.
    let mut labels = wanted.split('.');
    let name = labels.next().unwrap_or_default();
    (labels.next(), name)
}

fn split(service: &str) -> (&str, &str) {
    service.split_once('/').unwrap_or(("", service))
}

/// The names most like it, best first. With a namespace given, the right name in another one comes first.
fn alike<'a>(namespace: Option<&str>, name: &str, services: &[&'a str]) -> Vec<&'a str> {
    let likeness = |service: &str| {
        let (its_namespace, its_name) = split(service);
        let by_name = strsim::jaro_winkler(name, its_name);
        let by_namespace = namespace.map_or(0.0, |namespace| strsim::jaro_winkler(namespace, its_namespace));
        (by_name >= ALIKE).then_some(by_name + by_namespace / 10.0)
    };
    let mut found: Vec<_> =
        services.iter().filter_map(|service| likeness(service).map(|likeness| (likeness, *service))).collect();
    found.sort_by(|(a, a_name), (b, b_name)| b.total_cmp(a).then(a_name.cmp(b_name)));
    found.into_iter().map(|(_, service)| service).take(SUGGESTIONS).collect()
}

#[cfg(test)]
mod tests {
    use super::{Lookup, look_up};

    const SERVICES: [&str; 5] =
        ["default/clusterip-service", "default/podinfo", "shop/cart", "shop/podinfo", "test/cart-db"];

    #[track_caller]
    fn check(wanted: &str, expected: &Lookup<'_>) {
        assert_eq!(look_up(wanted, &SERVICES), *expected, "{wanted:?}");
    }

    #[test]
    fn every_form_of_a_name_is_understood() {
        for wanted in ["cart", "shop/cart", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local."] {
            check(wanted, &Lookup::Found("shop/cart"));
        }
        check("default/podinfo", &Lookup::Found("default/podinfo"));
        check("podinfo.shop", &Lookup::Found("shop/podinfo"));
    }

    #[test]
    fn a_bare_name_in_two_namespaces_is_not_guessed() {
        check("podinfo", &Lookup::Several(vec!["default/podinfo", "shop/podinfo"]));
    }

    #[test]
    fn slips_are_answered_with_what_is_there() {
        check("podifno", &Lookup::Unknown(vec!["default/podinfo", "shop/podinfo"]));
        check("shop/podifno", &Lookup::Unknown(vec!["shop/podinfo", "default/podinfo"]));
        check("default/cart", &Lookup::Unknown(vec!["shop/cart", "test/cart-db"]));
        check("zebra", &Lookup::Unknown(vec![]));
        check("", &Lookup::Unknown(vec![]));
    }
}
