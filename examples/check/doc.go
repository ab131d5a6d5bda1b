// Package check has the tests of the examples beside it: they are what kustomize, Kubernetes, Compose and systemd take for what it is meant to be. It is a module
// of its own, so that the program needs none of what it takes to know that. What they say to k6x is tested in cmd/k6x.
package check
