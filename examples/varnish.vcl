# Varnish (7 or later) as a cache in front of k6x: one build and one transfer for each binary, however many ask.
# Run: varnishd -F -f "$PWD/examples/varnish.vcl" -a :8080 -s file,/var/lib/varnish/k6x.bin,50G
# k6x: k6x service --url http://builds.example.com:8080, and --trusted-proxies ADDRESS if Varnish is on another machine.

# A binary has some 50 MB, and 50G holds a thousand of them; the file takes its whole size at once. -s malloc,SIZE keeps
# them in memory instead. Either way Varnish forgets them when it restarts, and asks k6x for each once more.

vcl 4.1;

backend k6x {
    .host = "127.0.0.1";
    .port = "8787";
    .connect_timeout = 5s;
    .first_byte_timeout = 1h;  # longer than any build and its turn in the queue
    .between_bytes_timeout = 1m;
    .probe = {
        .url = "/ready";
        .interval = 5s;
        .timeout = 5s;
        .window = 4;
        .threshold = 2;
        .initial = 2;  # serve from the start
    }
}

sub vcl_recv {
    if (req.url ~ "^/metrics(\?|$)") {
        return (synth(404));
    }
    if (req.url ~ "^/worker/nats$" && req.http.Upgrade ~ "(?i)^websocket$") {
        return (pipe);  # a worker, which stays
    }
    unset req.http.Cookie;  # k6x knows none, and they would keep requests from the cache
    # Only a path that names k6 and an exact version for every item can be cached. Other requests go
    # straight on: queued for the cache they would wait for each other. (The rest of this subroutine
    # is Varnish's own, which passes on requests with credentials and other methods as well.)
    if (req.url !~ "^/\w+/\w+/(?=([^?]*,)?k6@)(?<item>[^@,?]+@v?\d+\.\d+\.\d+([-+][^@,?]*)?)(,(?&item))*+(\?|$)") {
        return (pass);
    }
}

sub vcl_pipe {
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = "Upgrade";
}

# Without the query and the host: neither changes what is answered, and anybody could fill the storage
# with copies.
sub vcl_hash {
    hash_data(regsub(req.url, "\?.*", ""));
    return (lookup);
}

sub vcl_backend_response {
    # Binaries and 301 say that they may be kept for a year; errors and 307 say no-store. To remember
    # for a few seconds that an answer cannot be kept is what lets those who wait for it go to k6x
    # all at once, rather than one after the other. k6x answers them from what it remembers of a failed
    # build, or makes them wait for the one that runs. The next 200 ends this at once.
    if ((beresp.status != 200 && beresp.status != 301) || beresp.http.Cache-Control ~ "no-store") {
        set beresp.uncacheable = true;
        set beresp.ttl = 5s;
        set beresp.grace = 0s;
        return (deliver);
    }
    # Those who wait for a binary get its bytes as they come from k6x, and a Range is cut out of them: on a miss
    # Varnish always asks for the whole.
    set beresp.do_stream = true;
    set beresp.grace = 30d;  # after the year, should k6x be down
}

sub vcl_deliver {
    if (obj.hits > 0) {
        unset resp.http.X-Request-Id;  # of the request that filled the cache
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
}
