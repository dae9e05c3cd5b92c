import type { ProxyPlan } from "./proxy.ts";

/** A whole configuration file for HAProxy 2.6 or later. */
export function renderHaproxy({ nodes, listen, idleSeconds, payloadBytesMax }: ProxyPlan): string {
  const servers = nodes.map((node, index) => `  server node${index + 1} ${node}`).join("\n");
  const bind = listen.includes(":") ? listen : `:${listen}`;
  return `# Parley behind HAProxy. Written by \`parley haproxy\`.
# It takes as many connections as its process may open files, two for each (LimitNOFILE, ulimit -n).
defaults
  mode http
  timeout connect 2s
  timeout http-request 10s
  # Longer than a ping and its answer take, so that HAProxy never ends a connection that is well.
  timeout client ${idleSeconds}s
  timeout server ${idleSeconds}s
  timeout tunnel ${idleSeconds}s
  # While nodes come and go, a key's node may not be the one where its connection lives: another one is asked. A dead
  # node costs a client one reconnect. Repeating a POST is safe: no other node knows its session.
  retries ${Math.max(2, nodes.length)}
  retry-on conn-failure empty-response 503 404
  option redispatch 1
  default-server check inter 2s fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down

frontend parley
  bind ${bind}
  option forwardfor
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  # A node then answers 404 to what is to be asked of another.
  http-request set-header X-Parley-Not-Here 404
  http-request disable-l7-retry if !{ path_beg /socket.io/ } !METH_GET
  http-request deny deny_status 413 if { req.hdr(content-length) -m int gt ${payloadBytesMax} }
  # The requests of one polling connection must reach one node: by the key that the client chose (?key=…), or else by
  # its address.
  http-request set-var(txn.key) url_param(key)
  http-request set-var(txn.key) src if !{ var(txn.key) -m found }
  # A WebSocket that is no upgrade of a polling connection may go to any node.
  use_backend parley_any if { url_param(transport) -m str websocket } !{ url_param(sid) -m found }
  default_backend parley_by_key

backend parley_any
  balance roundrobin
${servers}

backend parley_by_key
  balance hash var(txn.key)
  hash-type consistent
  # Why the table: an old connection stays where it is when the hash changes as nodes come and go.
  stick-table type string len 64 size 200k expire ${idleSeconds}s
  stick match url_param(sid)
  stick store-response res.hdr(X-Parley-Connection)
  # What has not come as a whole cannot be repeated.
  option http-buffer-request
${servers}
`;
}
