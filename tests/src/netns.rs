//! Network namespaces, for captured traffic.
