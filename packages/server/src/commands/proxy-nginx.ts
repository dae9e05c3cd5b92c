import type { ProxyPlan } from "./proxy.ts";

/** A file for nginx's `conf.d`: what stands in its `http` block. */
export function renderNginx(plan: ProxyPlan): string {
  return `${renderUpstreams(plan)}
${renderServer(plan)}`;
}

function renderUpstreams({ nodes }: ProxyPlan): string {
  const servers = nodes.map((node) => `  server ${node} max_fails=1 fail_timeout=1s;`).join("\n");
  return `# Parley behind nginx. Written by \`parley nginx\`; include it in the http block, as conf.d/*.conf are.

# The requests of one polling connection must reach one node: by the key that the client chose (?key=…), or else by its
# address. Behind another proxy, set the address with the realip module.
map $arg_key $parley_key {
  ""      $remote_addr;
  default $arg_key;
}
# A WebSocket that is no upgrade of a polling connection may go to any node.
map "$arg_transport:$arg_sid" $parley_nodes {
  "websocket:" parley_any;
  default      parley_by_key;
}
map $http_upgrade $parley_connection {
  ""      "";
  default upgrade;
}

upstream parley_any {
${servers}
  keepalive 32;
}
upstream parley_by_key {
  hash $parley_key consistent;
${servers}
  keepalive 32;
}
`;
}

function renderServer({ nodes, listen, idleSeconds, payloadBytesMax }: ProxyPlan): string {
  return `server {
  listen ${listen};

  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $parley_connection;
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  # A node then answers 404 to what is to be asked of another, which is no failure of that node.
  proxy_set_header X-Parley-Not-Here 404;
  proxy_buffering off;
  client_max_body_size ${payloadBytesMax};

  # Longer than a ping and its answer take, so that nginx never ends a connection that is well.
  proxy_read_timeout ${idleSeconds}s;
  proxy_send_timeout ${idleSeconds}s;
  proxy_connect_timeout 2s;
  proxy_next_upstream_tries ${Math.max(2, nodes.length)};

  location / {
    proxy_pass http://$parley_nodes;
    proxy_next_upstream error timeout http_503;
    proxy_request_buffering off;
  }
  location /socket.io/ {
    proxy_pass http://$parley_nodes;
    # While nodes come and go, a key's node may not be the one where its connection lives: the next one is asked. A dead
    # node costs a client one reconnect. Repeating a POST is safe: no other node knows its session.
    proxy_next_upstream error timeout http_503 http_404 non_idempotent;
    # What is not kept until it is answered cannot be repeated.
    proxy_request_buffering on;
    client_body_buffer_size 64k;
  }
}
`;
}
