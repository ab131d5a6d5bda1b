package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// peak returns the most memory that a server ever had, in MB; 0 where the system does not tell.
func (s *server) peak() float64 { return memory(s.cmd.Process.Pid, "VmHWM") }

// resident returns the memory that a server has, in MB; 0 where the system does not tell.
func (s *server) resident() float64 { return memory(s.cmd.Process.Pid, "VmRSS") }

// anonymous returns the memory that a server has beside pages of files, as those of its own program, which the system takes back when it
// needs them; in MB, 0 where the system does not tell.
func (s *server) anonymous() float64 { return memory(s.cmd.Process.Pid, "RssAnon") }

// peakWithChildren returns the most memory that a server had together with all processes below it, in MB: of those that
// ran at one time, the most that each had until then. 0: nobody watched, or the system does not tell.
func (s *server) peakWithChildren() float64 { return s.tree.get() }

// watch looks at the memory of a server and of the processes below it until it ends. What comes and goes between
// two looks is not seen.
func (s *server) watch() {
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-s.gone:
				return
			case <-tick.C:
				s.tree.raise(treeMemory(s.cmd.Process.Pid))
			}
		}
	}()
}

// maximum is the largest of some numbers.
type maximum struct{ bits atomic.Uint64 }

func (m *maximum) get() float64 { return math.Float64frombits(m.bits.Load()) }

// raise has one caller at a time.
func (m *maximum) raise(x float64) { m.bits.Store(math.Float64bits(max(x, m.get()))) }

// treeMemory returns the sum of the most memory that a process and those below it ever had. It looks at no others, as it
// takes time from what is measured.
func treeMemory(pid int) float64 { return treeBelow(pid, -1) }

func treeBelow(pid int, parent float64) float64 {
	own := memory(pid, "VmHWM")
	if own == parent { // begins, and shares the memory of its parent
		return 0
	}
	total := own
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		for child := range strings.FieldsSeq(string(children)) {
			if id, err := strconv.Atoi(child); err == nil {
				total += treeBelow(id, own)
			}
		}
	}
	return total
}

// memory returns what the system tells of a process, in MB.
func memory(pid int, which string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == which {
			kib, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib * 1024 / 1e6
		}
	}
	return 0
}

// memoryRows returns the peaks of a server that is watched.
func (s *server) memoryRows(subject string) []row {
	return peakRows(subject, []float64{s.peak()}, []float64{s.peakWithChildren()})
}

// peakRows returns none where the system does not tell.
func peakRows(subject string, alone, children []float64) []row {
	if len(alone) == 0 || alone[0] == 0 {
		return nil
	}
	return []row{
		{Case: "peak memory without children", Subject: subject, Unit: "MB", Samples: alone},
		{Case: "peak memory with children", Subject: subject, Unit: "MB", Samples: children},
	}
}
