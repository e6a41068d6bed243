//go:build tools

// Package tools keeps the command that is built from this module among its requirements. Nobody compiles it.
// A module of its own: etcd and Kubernetes ask for different versions of the same libraries.
package tools

import _ "go.etcd.io/etcd/server/v3"
