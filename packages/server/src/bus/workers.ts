import type { LogId } from "../core/log.ts";
import type { Bus, BusReceiver, Digest, Hint, NodeMessage, Signal } from "./bus.ts";
import { type BusMessage, deliver, Uses } from "./messages.ts";

/** What a node's bus tells the hub. What it follows must arrive there; the rest, as all that the hub tells, may be lost. */
export type ToHub =
  | Exclude<BusMessage, { kind: "message" }>
  | { readonly kind: "message"; readonly node: string; readonly message: NodeMessage }
  | { readonly kind: "follow" | "unfollow"; readonly log: LogId };

/**
 * The bus between processes of one machine: all of them are joined to a hub in one of them. It is up as long as this
 * process is, for that one's end is its own.
 */
export class WorkersBus implements Bus {
  readonly alone = false;
  readonly #tell: (message: ToHub) => void;
  /** How often each log is followed; the hub knows whether. */
  readonly #followed = new Uses<LogId>();
  #state: { readonly state: "new" | "closed" } | { readonly state: "open"; readonly receiver: BusReceiver } = {
    state: "new",
  };

  /** `tell` brings a message to this node's `HubMember`, in order. */
  constructor(tell: (message: ToHub) => void) {
    this.#tell = tell;
  }

  async start(receiver: BusReceiver): Promise<void> {
    this.#state = { state: "open", receiver };
  }

  hint(hint: Hint): void {
    this.#send({ kind: "hint", hint });
  }

  signal(log: LogId, signal: Signal): void {
    this.#send({ kind: "signal", log, signal });
  }

  send(node: string, message: NodeMessage): void {
    this.#send({ kind: "message", node, message });
  }

  digest(digest: Digest): void {
    this.#send({ kind: "digest", digest });
  }

  follow(log: LogId): void {
    if (this.#followed.begin(log)) this.#send({ kind: "follow", log });
  }

  unfollow(log: LogId): void {
    if (this.#followed.end(log)) this.#send({ kind: "unfollow", log });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = { state: "closed" };
  }

  receive(message: BusMessage): void {
    if (this.#state.state === "open") deliver(message, this.#state.receiver, this.#followed);
  }

  #send(message: ToHub): void {
    if (this.#state.state !== "closed") this.#tell(message);
  }
}

/** A node at the hub. */
export interface HubMember {
  /** What the node's bus tells. */
  take(message: ToHub): void;
  /** It gets nothing more. */
  leave(): void;
}

interface Member {
  readonly node: string;
  readonly tell: (message: BusMessage) => void;
  readonly followed: Set<LogId>;
}

/** Brings what the nodes of one machine tell each other to those whom it concerns (FEED-3), and never back. */
export class BusHub {
  readonly #members = new Map<string, Member>();
  readonly #followers = new Map<LogId, Set<Member>>();

  /** `tell` brings a message to the bus of `node`. A node that is there under this id already is replaced. */
  join(node: string, tell: (message: BusMessage) => void): HubMember {
    const member: Member = { node, tell, followed: new Set() };
    const before = this.#members.get(node);
    if (before !== undefined) this.#leave(before);
    this.#members.set(node, member);
    return { take: (message) => this.#take(member, message), leave: () => this.#leave(member) };
  }

  #take(from: Member, message: ToHub): void {
    if (this.#members.get(from.node) !== from) return;
    switch (message.kind) {
      case "hint":
        this.#tellFollowers(message.hint.log, from, message);
        return;
      case "signal":
        this.#tellFollowers(message.log, from, message);
        return;
      case "digest":
        for (const member of this.#members.values()) if (member !== from) member.tell(message);
        return;
      case "message":
        if (message.node !== from.node)
          this.#members.get(message.node)?.tell({ kind: "message", message: message.message });
        return;
      case "follow":
        this.#follow(from, message.log);
        return;
      case "unfollow":
        this.#unfollow(from, message.log);
        return;
      default:
        message satisfies never;
    }
  }

  #tellFollowers(log: LogId, from: Member, message: BusMessage): void {
    for (const member of this.#followers.get(log) ?? []) if (member !== from) member.tell(message);
  }

  #follow(member: Member, log: LogId): void {
    member.followed.add(log);
    const followers = this.#followers.get(log);
    if (followers === undefined) this.#followers.set(log, new Set([member]));
    else followers.add(member);
  }

  #unfollow(member: Member, log: LogId): void {
    member.followed.delete(log);
    const followers = this.#followers.get(log);
    followers?.delete(member);
    if (followers?.size === 0) this.#followers.delete(log);
  }

  #leave(member: Member): void {
    if (this.#members.get(member.node) === member) this.#members.delete(member.node);
    for (const log of [...member.followed]) this.#unfollow(member, log);
  }
}
