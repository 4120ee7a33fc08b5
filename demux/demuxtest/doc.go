// Package demuxtest holds in-memory twins of what a switch is joined to: a
// Link, a Lane and a Waiter for tests, which keep account of every frame that
// they lend and report who breaks the rules, and a Source and a Sink for
// benchmarks, which do as little as possible. They know nothing of the
// switch; they fit its interfaces structurally.
package demuxtest

// Reporter takes note of a broken rule. A *testing.T is one.
type Reporter interface {
	Errorf(format string, args ...any)
}
