package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// peak returns the most memory that a server ever had, in MB; 0 where the system does not tell.
func (s *server) peak() float64 { return memory(s.cmd.Process.Pid, "VmHWM") }

// resident returns the memory that a server has, in MB; 0 where the system does not tell.
func (s *server) resident() float64 { return memory(s.cmd.Process.Pid, "VmRSS") }

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

// treeMemory returns the sum of the most memory that a process and those below it ever had.
func treeMemory(root int) float64 {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	children := map[int][]int{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			parent := parentOf(pid)
			children[parent] = append(children[parent], pid)
		}
	}
	var sum func(pid int, parent float64) float64
	sum = func(pid int, parent float64) float64 {
		own := memory(pid, "VmHWM")
		if own == parent { // begins, and shares the memory of its parent
			return 0
		}
		total := own
		for _, child := range children[pid] {
			total += sum(child, own)
		}
		return total
	}
	return sum(root, -1)
}

// parentOf returns the process that started one; 0 if that is gone.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // state, parent
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// memory returns what the system tells of a process, in MB.
func memory(pid int, which string) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	m := regexp.MustCompile(which + `:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return 0
	}
	kib, _ := strconv.ParseFloat(string(m[1]), 64)
	return kib * 1024 / 1e6
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
