//! Which values of the label a path goes to.

use wasmesh_policy::hash::xxh3;

/// Routes as they were configured.
pub(crate) struct Routes {
    /// Hashes of whole paths, and where these go.
    exact: Vec<(u64, Order)>,
    /// Beginnings of paths, the longest first.
    prefixes: Vec<(String, Order)>,
    /// Where all others go.
    others: Order,
    values: Vec<String>,
}

/// Numbers of values, the preferred first; never none.
type Order = Vec<usize>;

impl Routes {
    /// Reads paths, each with its values as `a, b`.
    ///
    /// # Errors
    /// Something is no path, or a value is empty; says which.
    pub(crate) fn of(routes: Vec<(String, String)>) -> Result<Self, String> {
        let mut read = Self { exact: Vec::new(), prefixes: Vec::new(), others: Vec::new(), values: Vec::new() };
        for (path, values) in routes {
            let order = values.split(',').map(|value| read.number(value.trim())).collect::<Option<Order>>();
            let order = order.ok_or_else(|| ["the values of ", &path, " have an empty one"].concat())?;
            match path.strip_suffix('*') {
                Some("") => read.others = order,
                _ if !path.starts_with('/') => {
                    return Err(["it knows no \"", &path, "\", and a path begins with /"].concat());
                }
                Some(prefix) => read.prefixes.push((prefix.to_owned(), order)),
                None => read.exact.push((xxh3(path.as_bytes()), order)),
            }
        }
        read.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if read.others.is_empty() {
            read.others = read.number("*").into_iter().collect();
        }
        Ok(read)
    }

    /// Whether the hash of a path is not always enough.
    pub(crate) fn have_prefixes(&self) -> bool {
        !self.prefixes.is_empty()
    }

    /// Every value that some route names.
    pub(crate) fn values(&self) -> &[String] {
        &self.values
    }

    /// Where a path goes: numbers of values, the preferred first. The path itself is asked for only if its hash is not enough.
    pub(crate) fn order(&self, hash: u64, path: impl FnOnce() -> Option<String>) -> &[usize] {
        if let Some((_, order)) = self.exact.iter().find(|(exact, _)| *exact == hash) {
            return order;
        }
        let path = if self.have_prefixes() { path().unwrap_or_default() } else { String::new() };
        let found = self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        found.map_or(&self.others, |(_, order)| order)
    }

    /// The number of a value; none of an empty one.
    fn number(&mut self, value: &str) -> Option<usize> {
        if value.is_empty() {
            return None;
        }
        let known = self.values.iter().position(|known| known == value);
        Some(known.unwrap_or_else(|| {
            self.values.push(value.to_owned());
            self.values.len() - 1
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Routes, xxh3};

    fn routes(routes: &[(&str, &str)]) -> Result<Routes, String> {
        Routes::of(routes.iter().map(|(path, values)| ((*path).to_owned(), (*values).to_owned())).collect())
    }

    #[track_caller]
    fn check(routes: &Routes, path: &str, expected: &[&str]) {
        let order = routes.order(xxh3(path.as_bytes()), || Some(path.to_owned()));
        let values: Vec<_> = order.iter().map(|number| routes.values()[*number].as_str()).collect();
        assert_eq!(values, expected, "{path}");
    }

    #[test]
    fn the_longest_path_that_fits_decides() {
        let routes =
            routes(&[("/a.B/*", "x"), ("/a.B/Get*", "y,x"), ("/a.B/Get", "z"), ("*", "x, *"), ("/a*", "w")]).unwrap();
        check(&routes, "/a.B/Get", &["z"]);
        check(&routes, "/a.B/GetAll", &["y", "x"]);
        check(&routes, "/a.B/Put", &["x"]);
        check(&routes, "/a.C/Put", &["w"]);
        check(&routes, "/b", &["x", "*"]);
    }

    #[test]
    fn without_a_route_any_endpoint_will_do() {
        check(&routes(&[]).unwrap(), "/a", &["*"]);
        assert!(!routes(&[("/a", "x")]).unwrap().have_prefixes());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(routes(&[("a.B/Get", "x")]).err().unwrap(), "it knows no \"a.B/Get\", and a path begins with /");
        assert_eq!(routes(&[("/a", "x,,y")]).err().unwrap(), "the values of /a have an empty one");
        assert_eq!(routes(&[("*", "")]).err().unwrap(), "the values of * have an empty one");
    }
}
