// SPDX-License-Identifier: Apache-2.0
//
// Turns the TCP connections of one control group to the transparent port of a uproxy on the same host, without rules of netfilter:
// the address is replaced when the app calls connect(), and nothing is done to any packet. uproxy asks by SO_ORIGINAL_DST, as it
// does behind a REDIRECT rule, where the connection wanted to go; the app is told by getpeername() that it got there.
//
// deploy/ebpf/capture.sh compiles, loads and attaches it; uproxy never does.
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef PROXY_PORT
#define PROXY_PORT 15001
#endif
/* Connections whose destination is remembered; the one that was asked for longest ago makes room. */
#define MAX_CONNECTIONS 65536

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOL_IP 0
#define SOL_IPV6 41
#define SO_ORIGINAL_DST 80

#define ALLOW 1

/* An address in network byte order; an IPv4 one stands in the last word. */
struct place {
  __u32 family;
  __u32 port;
  __u32 ip[4];
};

/* Where an app's socket wanted to go, by the socket. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, MAX_CONNECTIONS);
  __type(key, __u64);
  __type(value, struct place);
} wanted SEC(".maps");

/* What both ends of a turned connection know of it: its client's port, in a network namespace. */
struct client {
  __u64 netns;
  __u32 port;
  __u32 family;
};

/* Where the client on a port wanted to go. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, MAX_CONNECTIONS);
  __type(key, struct client);
  __type(value, struct place);
} origin SEC(".maps");

static __always_inline int is_loopback4(__u32 ip) {
  return (bpf_ntohl(ip) >> 24) == 127;
}

/* An IPv4 address in the clothes of IPv6, as a socket of both families has it. */
static __always_inline int is_mapped(const __u32 *ip) {
  return ip[0] == 0 && ip[1] == 0 && ip[2] == bpf_htonl(0xffff);
}

SEC("cgroup/connect4")
int turn4(struct bpf_sock_addr *ctx) {
  __u32 ip = ctx->user_ip4;
  if (ctx->type != SOCK_STREAM || ip == 0 || is_loopback4(ip)) return ALLOW;
  struct place to = {.family = AF_INET, .port = ctx->user_port, .ip = {0, 0, 0, ip}};
  __u64 cookie = bpf_get_socket_cookie(ctx);
  if (bpf_map_update_elem(&wanted, &cookie, &to, BPF_ANY)) return ALLOW;
  ctx->user_ip4 = bpf_htonl(0x7f000001);
  ctx->user_port = bpf_htons(PROXY_PORT);
  return ALLOW;
}

SEC("cgroup/connect6")
int turn6(struct bpf_sock_addr *ctx) {
  if (ctx->type != SOCK_STREAM) return ALLOW;
  __u32 ip[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
  struct place to = {.family = AF_INET6, .port = ctx->user_port, .ip = {ip[0], ip[1], ip[2], ip[3]}};
  int mapped = is_mapped(ip);
  if (mapped) {
    if (ip[3] == 0 || is_loopback4(ip[3])) return ALLOW;
    to.family = AF_INET;
    to.ip[2] = 0;
  } else if (ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && (ip[3] == 0 || ip[3] == bpf_htonl(1))) {
    return ALLOW;
  }
  __u64 cookie = bpf_get_socket_cookie(ctx);
  if (bpf_map_update_elem(&wanted, &cookie, &to, BPF_ANY)) return ALLOW;
  ctx->user_ip6[0] = 0;
  ctx->user_ip6[1] = 0;
  ctx->user_ip6[2] = mapped ? bpf_htonl(0xffff) : 0;
  ctx->user_ip6[3] = mapped ? bpf_htonl(0x7f000001) : bpf_htonl(1);
  ctx->user_port = bpf_htons(PROXY_PORT);
  return ALLOW;
}

/* The port of a client is known here, and no packet has been sent: uproxy cannot ask before there is an answer. */
SEC("sockops")
int remember(struct bpf_sock_ops *ctx) {
  if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB) return ALLOW;
  __u64 cookie = bpf_get_socket_cookie(ctx);
  struct place *to = bpf_map_lookup_elem(&wanted, &cookie);
  if (!to || bpf_ntohl(ctx->remote_port) != PROXY_PORT) return ALLOW;
  struct client from = {.netns = bpf_get_netns_cookie(ctx), .port = ctx->local_port, .family = to->family};
  bpf_map_update_elem(&origin, &from, to, BPF_ANY);
  return ALLOW;
}

SEC("cgroup/getpeername4")
int peer4(struct bpf_sock_addr *ctx) {
  if (ctx->user_port != bpf_htons(PROXY_PORT)) return ALLOW;
  __u64 cookie = bpf_get_socket_cookie(ctx);
  struct place *to = bpf_map_lookup_elem(&wanted, &cookie);
  if (!to || to->family != AF_INET) return ALLOW;
  ctx->user_ip4 = to->ip[3];
  ctx->user_port = to->port;
  return ALLOW;
}

SEC("cgroup/getpeername6")
int peer6(struct bpf_sock_addr *ctx) {
  if (ctx->user_port != bpf_htons(PROXY_PORT)) return ALLOW;
  __u64 cookie = bpf_get_socket_cookie(ctx);
  struct place *to = bpf_map_lookup_elem(&wanted, &cookie);
  if (!to) return ALLOW;
  ctx->user_ip6[0] = to->ip[0];
  ctx->user_ip6[1] = to->ip[1];
  ctx->user_ip6[2] = to->family == AF_INET ? bpf_htonl(0xffff) : to->ip[2];
  ctx->user_ip6[3] = to->ip[3];
  ctx->user_port = to->port;
  return ALLOW;
}

struct answer4 {
  __u16 family;
  __u16 port;
  __u32 ip;
  __u8 zero[8];
};

struct answer6 {
  __u16 family;
  __u16 port;
  __u32 flow;
  __u32 ip[4];
  __u32 scope;
};

/* Of the control group of uproxy: what netfilter would answer if it had turned the connection. */
SEC("cgroup/getsockopt")
int original(struct bpf_sockopt *ctx) {
  if (ctx->optname != SO_ORIGINAL_DST || !ctx->sk) return ALLOW;
  if (ctx->level != SOL_IP && ctx->level != SOL_IPV6) return ALLOW;
  struct client from = {
      .netns = bpf_get_netns_cookie(ctx),
      .port = bpf_ntohs(ctx->sk->dst_port),
      .family = ctx->level == SOL_IP ? AF_INET : AF_INET6,
  };
  struct place *to = bpf_map_lookup_elem(&origin, &from);
  if (!to || ctx->sk->src_port != PROXY_PORT) return ALLOW;
  if (from.family == AF_INET) {
    struct answer4 *answer = ctx->optval;
    if ((void *)(answer + 1) > ctx->optval_end) return ALLOW;
    *answer = (struct answer4){.family = AF_INET, .port = to->port, .ip = to->ip[3]};
    ctx->optlen = sizeof(*answer);
  } else {
    struct answer6 *answer = ctx->optval;
    if ((void *)(answer + 1) > ctx->optval_end) return ALLOW;
    *answer = (struct answer6){.family = AF_INET6, .port = to->port, .ip = {to->ip[0], to->ip[1], to->ip[2], to->ip[3]}};
    ctx->optlen = sizeof(*answer);
  }
  ctx->retval = 0;
  return ALLOW;
}

char _license[] SEC("license") = "Apache-2.0";
