import { Client, type ClientBase, Pool, type PoolClient } from "pg";
import type { LogId, Seq } from "../core/log.ts";
import type { PostgresAddress } from "./postgres-address.ts";
import { portError, reasonOf } from "./postgres-errors.ts";
import { beginSession, type Session, type Witness } from "./postgres-session.ts";
import { StoreUnavailable, StoreUnusable } from "./store.ts";

const poolConnectionsMax = 8;
/** Calls that wait for a connection, each for 5 s at most. */
const waitingMax = 10_000;

/**
 * The connections of one store: one for appends, in which they take turns, and a few for everything else. A connection
 * that was lost is replaced when the next call needs it.
 */
export class Connections {
  readonly #address: PostgresAddress;
  readonly #pool: Pool;
  readonly #sessions = new WeakMap<ClientBase, Session>();
  #writer: { readonly client: Client; readonly session: Session } | null = null;
  #appends: Promise<unknown> = Promise.resolve();
  /** Those of the pool, with those that wait for it. */
  readonly #calls = new Set<Promise<unknown>>();
  #closed = false;
  /** Compared with the database on each new connection. */
  #witness: Witness | null = null;

  constructor(address: PostgresAddress) {
    this.#address = address;
    this.#pool = new Pool({ ...address.connection, max: poolConnectionsMax });
    // The pool drops a connection that fails while it is idle; without a listener the process would end.
    this.#pool.on("error", () => undefined);
    // Why: one that fails while it is taken has no other listener.
    this.#pool.on("connect", (client) => client.on("error", () => undefined));
  }

  /** This node committed: what the database must not fall behind. `generation`: the store's and the cluster's. */
  witness(log: LogId, life: number, head: Seq, generation: string): void {
    const { generations = new Set<string>() } = this.#witness ?? {};
    const isKnown = generations.has(generation);
    this.#witness = { log, life, head, generations: isKnown ? generations : new Set([...generations, generation]) };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** For statements that change nothing. Errors: `StoreUnavailable`. */
  read<Value>(work: (session: Session) => Promise<Value>): Promise<Value> {
    return this.#withPooled("read", work);
  }

  /** For one statement that is a transaction of its own. Errors: `StoreUnavailable`, `OutcomeUnknown`. */
  async write<Value>(work: (session: Session) => Promise<Value>): Promise<Value> {
    return this.#withPooled("write", work);
  }

  /**
   * Runs `work` on the connection of the appends, after all that came before; it takes its errors as they come from the
   * client. A connection on which it failed is not used again.
   * Errors: `StoreUnavailable`, when there is no connection; those of `work`.
   */
  async append<Value>(work: (session: Session) => Promise<Value>): Promise<Value> {
    this.#refuseIfClosed();
    const turn = this.#appends.then(() => this.#appendNow(work));
    this.#appends = turn.catch(() => undefined);
    return turn;
  }

  async #appendNow<Value>(work: (session: Session) => Promise<Value>): Promise<Value> {
    const writer = this.#writer ?? (await this.#openWriter());
    try {
      return await work(writer.session);
    } catch (error) {
      this.#drop(writer.client);
      throw error;
    }
  }

  async #openWriter(): Promise<{ readonly client: Client; readonly session: Session }> {
    this.#refuseIfClosed();
    // Pipelined: what belongs to one transaction is sent without waiting for the answers between.
    const client = new Client({ ...this.#address.connection, pipeline: true });
    client.on("error", () => this.#drop(client));
    client.on("end", () => this.#drop(client));
    try {
      await client.connect();
      const session = await beginSession(client, this.#address.schema, this.#witness);
      this.#writer = { client, session };
      return this.#writer;
    } catch (error) {
      this.#drop(client);
      throw unavailable(error);
    }
  }

  #drop(client: Client): void {
    if (this.#writer?.client === client) this.#writer = null;
    client.end().catch(() => undefined);
  }

  async #withPooled<Value>(kind: "read" | "write", work: (session: Session) => Promise<Value>): Promise<Value> {
    const call = this.#callPooled(kind, work);
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }

  async #callPooled<Value>(kind: "read" | "write", work: (session: Session) => Promise<Value>): Promise<Value> {
    const client = await this.#take();
    let failed = true;
    try {
      const value = await work(await this.#sessionOn(client));
      failed = false;
      return value;
    } catch (error) {
      throw portError(error, kind);
    } finally {
      client.release(failed);
    }
  }

  async #take(): Promise<PoolClient> {
    this.#refuseIfClosed();
    if (this.#pool.waitingCount >= waitingMax) throw new StoreUnavailable("too many calls wait for Postgres");
    try {
      return await this.#pool.connect();
    } catch (error) {
      throw unavailable(error);
    }
  }

  async #sessionOn(client: PoolClient): Promise<Session> {
    const known = this.#sessions.get(client);
    if (known !== undefined) return known;
    try {
      const session = await beginSession(client, this.#address.schema, this.#witness);
      this.#sessions.set(client, session);
      return session;
    } catch (error) {
      throw unavailable(error);
    }
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new StoreUnavailable("the store is closed");
  }

  /** Finishes the calls under way, then closes all connections. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Why not left to the pool: at its end it forgets those that wait for a connection.
    await Promise.allSettled([this.#appends, ...this.#calls]);
    const { client } = this.#writer ?? {};
    this.#writer = null;
    await Promise.all([this.#pool.end(), client?.end()]);
  }
}

function unavailable(error: unknown): Error {
  if (error instanceof StoreUnavailable || error instanceof StoreUnusable) return error;
  return new StoreUnavailable(`no connection to Postgres: ${reasonOf(error)}`, { cause: error });
}
