package builder

import (
	"slices"
	"time"
)

// line is where builds wait: its clients have turns, the builds of one client are in the order
// in which they came. The zero value is empty.
type line struct {
	count   int
	turns   []string             // clients with waiting builds; the first has the next turn
	tickets map[string][]*ticket // their waiting builds
}

// ticket is a place in a line.
type ticket struct {
	job        Job
	client     string
	background bool
	since      time.Time     // when it came
	slots      int           // that its turn takes: 1, or 0 to wait until there is one
	worker     string        // where its slot is; "": here
	again      bool          // it had a turn, and goes before the others of its client
	turn       chan struct{} // closed when its turn has come, and the slots are its own
}

// of returns how many builds of client wait.
func (q *line) of(client string) int { return len(q.tickets[client]) }

func (q *line) add(t *ticket) {
	if q.tickets == nil {
		q.tickets = make(map[string][]*ticket)
	}
	if q.of(t.client) == 0 {
		q.turns = append(q.turns, t.client)
	}
	at := q.of(t.client)
	if t.again {
		at = 0
	}
	q.tickets[t.client] = slices.Insert(q.tickets[t.client], at, t)
	q.count++
}

// age returns how long the build has waited that waits longest; 0 if none does.
func (q *line) age() (longest time.Duration) {
	for _, mine := range q.tickets {
		longest = max(longest, time.Since(slices.MinFunc(mine, func(a, b *ticket) int { return a.since.Compare(b.since) }).since))
	}
	return longest
}

// next takes out the ticket whose turn it is, of those that take accepts; nil if there is none.
func (q *line) next(take func(*ticket) bool) *ticket {
	for _, client := range q.turns {
		for _, t := range q.tickets[client] {
			if !take(t) {
				continue
			}
			q.remove(t)
			if q.of(client) > 0 {
				q.turns = append(slices.DeleteFunc(q.turns, func(c string) bool { return c == client }), client)
			}
			return t
		}
	}
	return nil
}

// has reports whether t waits.
func (q *line) has(t *ticket) bool { return slices.Contains(q.tickets[t.client], t) }

// remove takes t out and reports whether it was there.
func (q *line) remove(t *ticket) bool {
	mine := q.tickets[t.client]
	i := slices.Index(mine, t)
	if i < 0 {
		return false
	}
	q.count--
	if len(mine) > 1 {
		q.tickets[t.client] = slices.Delete(mine, i, i+1)
		return true
	}
	delete(q.tickets, t.client)
	q.turns = slices.DeleteFunc(q.turns, func(c string) bool { return c == t.client })
	return true
}
