import type { Client } from "./client.ts";
import type { Crowd } from "./crowd.ts";
import type { Lane } from "./loops.ts";
import type { RoomTraffic } from "./traffic.ts";

/** `members` clients, each in one room: one after the other of the list, so that rooms differ by one member at most. */
export function spreadOver(rooms: readonly RoomTraffic[], members: number): readonly (readonly RoomTraffic[])[] {
  return Array.from({ length: members }, (_, index) => {
    const at = index % rooms.length;
    return rooms.slice(at, at + 1);
  });
}

/** One of its members sends into each room: another one for each, where a member is in many. A room without members has no lane. */
export function lanesOfMembers({ clients }: Pick<Crowd, "clients">, rooms: readonly RoomTraffic[]): readonly Lane[] {
  const membersOf = rooms.map(() => new Array<Client>());
  for (const client of clients) {
    for (const { room } of client.subscriptions) membersOf[room]?.push(client);
  }
  return rooms.flatMap((room, index) => {
    const members = membersOf[index] ?? [];
    const client = members[index % members.length];
    return client === undefined ? [] : [{ client, room }];
  });
}
