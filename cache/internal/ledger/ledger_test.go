package ledger

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// carryOut does to the ledger what a store does to carry out a plan.
func carryOut(l *Ledger, plan Plan) {
	for _, key := range plan.Evict {
		item, _ := l.Get(key)
		item.Binary = 0
		l.Set(key, item)
	}
	for _, key := range plan.Forget {
		l.Drop(key)
	}
}

func TestPlansKeepTheLimitsAndTakeTheOldestFirst(t *testing.T) {
	const limit = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	refused, evicted, forgotten := 0, 0, 0
	l := New(limit)
	for step := range 5000 {
		key := strconv.Itoa(random.IntN(60))
		switch random.IntN(6) {
		case 0:
			if !l.Held(key) {
				l.Hold(key)
			} else {
				l.Release(key)
			}
			continue
		case 1:
			l.Use(key, time.Unix(int64(step), 0))
			continue
		}
		record, binary := int64(50+random.IntN(100)), int64(1+random.IntN(3000))
		plan, ok := l.Plan(key, record, binary)
		if !ok {
			refused++
			if !plan.Empty() {
				t.Fatalf("step %d: a plan that does not work: %+v", step, plan)
			}
			continue
		}
		evicted += len(plan.Evict)
		forgotten += len(plan.Forget)
		checkPlan(t, l, key, plan)
		carryOut(l, plan)
		l.Set(key, Item{Record: record, Binary: binary, Used: time.Unix(int64(step), 0)})
		checkTotals(t, l, limit)
	}
	if refused == 0 || evicted == 0 || forgotten == 0 {
		t.Errorf("%d refused, %d evicted, %d forgotten: the test proves nothing", refused, evicted, forgotten)
	}
}

func checkPlan(t *testing.T, l *Ledger, key string, plan Plan) {
	t.Helper()
	var newest time.Time
	for _, k := range plan.Evict {
		item, _ := l.Get(k)
		if l.Held(k) || k == key || item.Binary == 0 {
			t.Fatalf("%s is to be evicted: held %t, %+v, for %s", k, l.Held(k), item, key)
		}
		if item.Used.After(newest) {
			newest = item.Used
		}
	}
	for k := range l.Keys() {
		item, _ := l.Get(k)
		if item.Binary > 0 && item.Used.Before(newest) && !l.Held(k) && k != key && !slices.Contains(plan.Evict, k) {
			t.Fatalf("%s stays, although a later one goes", k)
		}
	}
	for _, k := range plan.Forget {
		if l.Held(k) || k == key {
			t.Fatalf("%s is to be forgotten: held %t, for %s", k, l.Held(k), key)
		}
	}
}

func checkTotals(t *testing.T, l *Ledger, limit int64) {
	t.Helper()
	var bytes, bare int64
	whole, held := 0, false
	for k := range l.Keys() {
		item, _ := l.Get(k)
		bytes += item.Record + item.Binary
		if item.Binary > 0 {
			whole++
			continue
		}
		bare += item.Record
		held = held || l.Held(k)
	}
	gotWhole, gotEvicted, gotBytes := l.Totals()
	if gotWhole != whole || gotWhole+gotEvicted != len(l.items) || gotBytes != bytes {
		t.Fatalf("totals %d, %d, %d; counted %d of %d, %d", gotWhole, gotEvicted, gotBytes, whole, len(l.items), bytes)
	}
	if bytes > limit || bare > limit/8 && !held {
		t.Fatalf("%d bytes, %d of them in records without binary, with a limit of %d", bytes, bare, limit)
	}
}
