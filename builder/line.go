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
	client     string
	background bool
	since      time.Time     // when it came
	slots      int           // that its turn takes: 1, or 0 to wait until there is one
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
	q.tickets[t.client] = append(q.tickets[t.client], t)
	q.count++
}

// age returns how long the build has waited that waits longest; 0 if none does.
func (q *line) age() (longest time.Duration) {
	for _, mine := range q.tickets {
		longest = max(longest, time.Since(mine[0].since))
	}
	return longest
}

// next takes out the ticket whose turn it is; nil if none waits.
func (q *line) next() *ticket {
	if q.count == 0 {
		return nil
	}
	client := q.turns[0]
	t := q.tickets[client][0]
	q.remove(t)
	if q.of(client) > 0 {
		q.turns = append(q.turns[1:], client)
	}
	return t
}

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
