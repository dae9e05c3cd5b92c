import { expect, test } from "vitest";
import { parseBinaryPacket, parsePacket, startBinaryPacket } from "./packets.ts";
import { defaultGatewaySettings } from "./settings.ts";

const limits = { ...defaultGatewaySettings, namespaceLengthMax: 8 };

/** A binary packet with one attachment, put together. */
function binary(text: string) {
  const packet = startBinaryPacket(text, limits);
  if (packet === null) return null;
  packet.attachments.push(Buffer.from("x"));
  return parseBinaryPacket(packet, limits);
}

const placeholder = '["e",{"_placeholder":true,"num":0}]';

test("[IN-1] a namespace has a bound, in packets of every kind", () => {
  expect(parsePacket('2/1234567,["e"]', limits)).toMatchObject({ namespace: "/1234567" });
  expect(parsePacket('2/12345678,["e"]', limits)).toBeNull();
  expect(binary(`51-/1234567,${placeholder}`)).toMatchObject({ namespace: "/1234567" });
  expect(binary(`51-/12345678,${placeholder}`)).toBeNull();
});

test("[IN-1] the id of an acknowledgement is a number that JavaScript can hold", () => {
  expect(parsePacket('2999999999999999["e"]', limits)).toMatchObject({ id: 999_999_999_999_999 });
  expect(parsePacket('21000000000000000["e"]', limits)).toBeNull();
  expect(binary(`51-7${placeholder}`)).toMatchObject({ id: 7 });
  expect(binary(`51-9007199254740992${placeholder}`)).toBeNull();
});
