package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the endpoint.
const (
	maxScrapes    = 4 // at once; more get 503
	scrapeTime    = 10 * time.Second
	headerTime    = 5 * time.Second
	maxHeaderSize = 16 << 10
	stopTime      = 3 * time.Second
)

// Handler answers scrapes. A family that cannot be read is left out, the rest is
// served, and log is told.
func (r *Registry) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(r.prom, promhttp.HandlerOpts{
		ErrorLog:            scrapeErrors{log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTime,
		EnableOpenMetrics:   true,
	})
}

// Serve answers scrapes of /metrics on l until ctx ends, and then waits a short
// time for those under way. It owns l. The error is nil after ctx ended.
func (r *Registry) Serve(ctx context.Context, l net.Listener, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", r.Handler(log))
	s := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime,
		WriteTimeout:      scrapeTime + headerTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderSize,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	serving, served := context.WithCancel(ctx)
	defer served()
	wg.Go(func() {
		<-serving.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if s.Shutdown(stop) != nil {
			s.Close() // whoever scrapes that slowly has had its time
		}
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("telemetry: serve metrics: %w", err)
	}
	return nil
}

// scrapeErrors is what promhttp wants of a logger.
type scrapeErrors struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (e scrapeErrors) Println(v ...any) {
	e.log.Warn("metrics were not read in full", "error", fmt.Sprint(v...))
}
