import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PostgresServer } from "../../../../test/support/postgres.ts";
import { readAddress } from "./postgres-address.ts";
import { bigintArray, intArray, textArray } from "./postgres-arrays.ts";

const resources = new AsyncDisposableStack();
let client: Client;

beforeAll(async () => {
  const server = resources.use(await PostgresServer.start());
  client = new Client(readAddress(server.url()).connection);
  resources.defer(() => client.end());
  await client.connect();
}, 120_000);

afterAll(() => resources.disposeAsync());

async function sent(type: string, array: Buffer): Promise<unknown> {
  const { rows } = await client.query(`SELECT to_json($1::${type}[])::text AS given`, [array]);
  return JSON.parse(String(rows[0]?.["given"]));
}

test("texts arrive as they are: any characters, empty ones, and nulls", async () => {
  const texts = [
    "plain",
    "",
    null,
    '{"a":"\\"}',
    "NULL",
    "é \u20ac \u{1f600}",
    "a,b {c}\n\t'",
    "x".repeat(100_000),
    null,
  ];
  expect(await sent("text", textArray(texts))).toEqual(texts);
  expect(await sent("text", textArray([]))).toEqual([]);
});

test("integers arrive as they are, up to the bounds of their types", async () => {
  const integers = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)];
  expect(await sent("int", intArray(integers))).toEqual(integers);
  const large = [...integers, 2 ** 31, 2 ** 32, 2 ** 32 - 1, -(2 ** 32) - 1, 1_700_000_000_123];
  const bounds = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
  expect(await sent("bigint", bigintArray([...large, ...bounds]))).toEqual([...large, ...bounds]);
  expect(await sent("bigint", bigintArray([]))).toEqual([]);
});
