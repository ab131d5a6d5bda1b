package service

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"k6x"
	"k6x/builder"
	"k6x/builder/remote"
	"k6x/history"
)

// Workers is how machines that build for this service dial in. The zero value: none may.
type Workers struct {
	Hub       *remote.Hub
	Broker    *remote.Broker
	Tokens    *Tokens // of workers
	Operators *Tokens // of those who may drain and revoke them; nil: nobody may

	// Cache answers a request of a worker for an object of the build cache.
	Cache func(w http.ResponseWriter, r *http.Request, worker, name string) error
}

// forWorkers returns h where there may be workers, for those whom check lets pass.
func (s *Service) forWorkers(check func(r *http.Request) error, h handler) handler {
	return func(w *response, r *http.Request) error {
		w.outcome = "workers"
		if s.cfg.Workers.Hub == nil {
			return k6x.Errorf(k6x.NotFound, "this service was started without --workers, and takes none")
		}
		if err := check(r); err != nil {
			refuseBody(w, r)
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		return h(w, r)
	}
}

func (s *Service) isWorker(r *http.Request) error { return s.cfg.Workers.Tokens.Check(r) }

func (s *Service) isOperator(r *http.Request) error {
	if s.cfg.Workers.Operators == nil {
		return k6x.Errorf(k6x.Forbidden, "nobody may do that here").WithHint("The operator names a file with tokens for it, with --operator-token-file.")
	}
	err := s.cfg.Workers.Operators.Check(r)
	if k6x.KindOf(err) == k6x.Unauthorized {
		return k6x.Errorf(k6x.Unauthorized, "this takes the token of an operator").
			WithHint("It is one of the service's --operator-token-file, in a header, Authorization: Bearer TOKEN.")
	}
	return err
}

// registerWorker answers POST of /worker/register with a credential.
func (s *Service) registerWorker(w *response, r *http.Request) error {
	var request remote.Registration
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	credential, err := s.cfg.Workers.Hub.Register(r.Context(), request)
	if err != nil {
		return err
	}
	return writeStatus(w, http.StatusOK, credential)
}

// anyone is the check of what has one of its own.
func anyone(*http.Request) error { return nil }

// connectWorker answers GET of /worker/nats: the connection of a worker, which shows its credential there.
func (s *Service) connectWorker(w *response, r *http.Request) error {
	its := *r
	its.RemoteAddr = s.client(r) // as it is to be logged
	return s.cfg.Workers.Broker.ServeHTTP(w, &its)
}

// readCache answers GET of /worker/cache/{name}: of the build cache, for a worker that shows its credential.
func (s *Service) readCache(w *response, r *http.Request) error {
	its := *r
	its.RemoteAddr = s.client(r)
	worker, err := s.cfg.Workers.Broker.Reader(&its)
	if err != nil {
		return err
	}
	return s.cfg.Workers.Cache(w, r, worker, chi.URLParam(r, "*"))
}

// changeWorker answers POST of /workers/{name}/{action}, which is drain, revoke or admit.
func (s *Service) changeWorker(w *response, r *http.Request) error {
	if err := s.cfg.Workers.Hub.Change(r.Context(), chi.URLParam(r, "name"), chi.URLParam(r, "action")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hideModules takes away what names modules.
func hideModules(w *builder.Worker) {
	w.Build, w.Path, w.Unverified = "", "", nil
	if w.State == string(remote.Quarantined) {
		w.Reason = "the log of the service says what"
	}
}

const maxUnverified = 1000 // that /status lists of all workers

// addUnverified adds to the first row of each worker that is quarantined what it built and nobody verified.
func addUnverified(rows []builder.Worker, h *history.History) {
	doubted := remote.Doubted(rows)
	if len(doubted) == 0 {
		return
	}
	unverified := h.Unverified(doubted, maxUnverified)
	for i := range rows {
		rows[i].Unverified = unverified[rows[i].Name]
		delete(unverified, rows[i].Name)
	}
}

// addWorkers adds the workers, if there may be any.
func (s *Service) addWorkers(v *Status) {
	if s.cfg.Workers.Hub == nil {
		return
	}
	pool := s.cfg.Workers.Hub.Pool()
	if !v.Hidden {
		addUnverified(pool.Workers, s.cfg.Builds.History)
	}
	for i := range pool.Workers {
		w := &pool.Workers[i]
		if s.addStep(w, w.Path); v.Hidden {
			hideModules(w)
		}
	}
	v.Pools = append(v.Pools, pool)
}
