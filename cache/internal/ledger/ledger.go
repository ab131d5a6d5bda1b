// Package ledger keeps account of a store: what is there, how large it is, when it was
// used last, and what has to go to make room.
package ledger

import (
	"container/heap"
	"iter"
	"maps"
	"time"
)

// recordShare is the part of the limit that records without bytes may take: 1/recordShare.
const recordShare = 8

// Item is the account of one artifact. An item whose Binary is 0 was evicted: only
// its record is there.
type Item struct {
	Record int64 // bytes of the record
	Binary int64 // bytes of the binary
	Used   time.Time
}

// Ledger is the account of a store. It is not safe for concurrent use.
type Ledger struct {
	// Last reports whether the binary of a key goes after all others, as its room is not free at once. Nil: none does.
	Last func(key string) bool

	limit   int64
	items   map[string]Item
	held    map[string]int
	bytes   int64 // of all binaries and records
	bare    int64 // of records without binary
	evicted int   // how many of them
}

// New returns an empty ledger; a limit of 0 bytes means none.
func New(limit int64) *Ledger {
	return &Ledger{limit: limit, items: map[string]Item{}, held: map[string]int{}}
}

// Get returns the item of key.
func (l *Ledger) Get(key string) (Item, bool) {
	item, ok := l.items[key]
	return item, ok
}

// Keys returns the keys of all items, in no order.
func (l *Ledger) Keys() iter.Seq[string] { return maps.Keys(l.items) }

// Set enters an item, in place of the one that key has already.
func (l *Ledger) Set(key string, item Item) {
	l.Drop(key)
	l.items[key] = item
	l.add(item, 1)
}

// Drop takes the item of key out.
func (l *Ledger) Drop(key string) {
	if item, ok := l.items[key]; ok {
		delete(l.items, key)
		l.add(item, -1)
	}
}

func (l *Ledger) add(item Item, sign int) {
	l.bytes += int64(sign) * (item.Record + item.Binary)
	if item.Binary == 0 {
		l.bare += int64(sign) * item.Record
		l.evicted += sign
	}
}

// Use notes a use of key, if there is an item for it and the use is later than the last.
func (l *Ledger) Use(key string, at time.Time) {
	if item, ok := l.items[key]; ok && at.After(item.Used) {
		item.Used = at
		l.items[key] = item
	}
}

// Hold keeps key out of every plan until [Ledger.Release]; there may be no item yet. Holds
// are counted.
func (l *Ledger) Hold(key string) { l.held[key]++ }

// Release ends one hold.
func (l *Ledger) Release(key string) {
	if l.held[key]--; l.held[key] <= 0 {
		delete(l.held, key)
	}
}

// Held reports whether there is a hold on key.
func (l *Ledger) Held(key string) bool { return l.held[key] > 0 }

// Totals returns the number of whole and of evicted items, and the bytes of all.
func (l *Ledger) Totals() (whole, evicted int, bytes int64) {
	return len(l.items) - l.evicted, l.evicted, l.bytes
}

// Plan is what has to go, in order.
type Plan struct {
	Evict  []string // keys whose binary is to be removed
	Forget []string // keys whose record is to be removed as well; some may be of Evict
}

// Empty reports whether nothing has to go.
func (p Plan) Empty() bool { return len(p.Evict)+len(p.Forget) == 0 }

// Plan says what has to go so that an item of the given sizes can be entered for key.
// It reports false if no plan makes room.
func (l *Ledger) Plan(key string, record, binary int64) (Plan, bool) {
	total, bare := l.bytes+record+binary, l.bare
	if old, ok := l.items[key]; ok {
		total -= old.Record + old.Binary
		if old.Binary == 0 {
			bare -= old.Record
		}
	}
	if l.limit <= 0 || total <= l.limit && bare <= l.limit/recordShare {
		return Plan{}, true
	}

	whole, left := l.mayGo(key)
	var evicted []string // left behind by this plan
	var plan Plan
	for {
		for bare > l.limit/recordShare && left.Len()+len(evicted) > 0 {
			var oldest string
			if left.Len() > 0 {
				oldest = left.next()
			} else {
				oldest, evicted = evicted[0], evicted[1:]
			}
			bare -= l.items[oldest].Record
			total -= l.items[oldest].Record
			plan.Forget = append(plan.Forget, oldest)
		}
		if total <= l.limit {
			return plan, true
		}
		if whole.Len() == 0 {
			return Plan{}, false
		}
		oldest := whole.next()
		total -= l.items[oldest].Binary
		bare += l.items[oldest].Record
		evicted = append(evicted, oldest)
		plan.Evict = append(plan.Evict, oldest)
	}
}

// Oldest returns the key of the whole item that was used longest ago and is not held; "" if there is none.
func (l *Ledger) Oldest() string {
	whole, _ := l.mayGo("")
	if whole.Len() == 0 {
		return ""
	}
	return whole.next()
}

// mayGo returns the keys other than key that are not held: those of whole items, and those that
// have only a record left.
func (l *Ledger) mayGo(key string) (whole, left *queue) {
	whole, left = &queue{}, &queue{}
	for k, item := range l.items {
		switch {
		case k == key || l.Held(k):
		case item.Binary > 0:
			used := item.Used
			if l.Last != nil && l.Last(k) {
				used = used.AddDate(1000, 0, 0)
			}
			*whole = append(*whole, aged{k, used})
		default:
			*left = append(*left, aged{k, item.Used})
		}
	}
	heap.Init(whole)
	heap.Init(left)
	return whole, left
}
