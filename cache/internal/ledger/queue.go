package ledger

import (
	"container/heap"
	"time"
)

// queue gives keys by their last use, the oldest first. It is a heap, since of many keys a
// plan asks for a few.
type queue []aged

type aged struct {
	key  string
	used time.Time
}

var _ heap.Interface = (*queue)(nil)

// next takes out the key that was used longest ago.
func (q *queue) next() string { return heap.Pop(q).(aged).key }

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].used.Before(q[j].used) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(aged)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}
