/**
 * What the renames of the condition flag mean (SS-MIX2 guideline 1.2h; NHO, transaction storage):
 *
 * | seen before | found now | means |
 * | --- | --- | --- |
 * | nothing | `1` | `INS` of this version |
 * | handed over as `1` | `2` | nothing: the update's own new file says it |
 * | handed over | `0` | `DEL` of the logical key |
 * | nothing | `0` | `DEL` of the logical key; in the first load only when something of the key was handed over |
 * | nothing | `2` | noted |
 *
 * A deletion renames every version of its key to `0` and writes one more `0` file. That is one `DEL`, carried by the
 * newest file; in place of a new file that is not finished yet the deletion waits for it. A file that vanishes means
 * nothing: deleting is a flag, and what is gone was pruned, moved to another volume, or lies on a share that is not
 * mounted.
 */
import { type Entry, wasOffered } from './catalogue.ts';
import { type ConditionFlag, type FileName, logicalKey } from './names.ts';

/** One version as the folder has it now. */
export interface Version {
  /** As the catalogue knows it: `<order no>_<time>_<department>`. */
  readonly key: string;
  /** The file's own name. */
  readonly file: string;
  readonly name: FileName;
}

export interface Plan {
  /** To be handed over, in this order: deletions first, so that a version that is valid has the last word. */
  readonly moves: readonly Move[];
  /** Versions whose flag is remembered and which mean nothing more. */
  readonly notes: readonly Version[];
}

export interface Move {
  readonly op: 'INS' | 'DEL';
  readonly version: Version;
  /** Other versions of the key that this deletion took with it; remembered as deleted when it has been handed over. */
  readonly alongside: readonly Version[];
}

export function entryKey({ orderNumber, time, department }: FileName): string {
  return `${orderNumber}_${time}_${department}`;
}

/** A copied file can lie there under two flags; the later stage of its life counts. */
const stages: Readonly<Record<ConditionFlag, number>> = { '1': 0, '2': 1, '0': 2 };

export function isLater(a: FileName, b: FileName): boolean {
  return stages[a.flag] > stages[b.flag];
}

/** @param isLoaded the tree has been gone through once, so that what is new now is new in the hospital. */
export function planFolder(
  found: ReadonlyMap<string, Version>,
  known: ReadonlyMap<string, Entry>,
  isLoaded: boolean,
): Plan {
  const inserts: Move[] = [];
  const notes: Version[] = [];
  const deletes = new Map<string, Version[]>();
  const offeredKeys = keysOffered(known);
  for (const version of found.values()) {
    const entry = known.get(version.key);
    const isKeyOffered = offeredKeys.has(version.name.orderNumber);
    const meaning = meaningOf(entry, version.name.flag, { isLoaded, isKeyOffered });
    if (meaning === 'insert') inserts.push({ op: 'INS', version, alongside: [] });
    else if (meaning === 'note') notes.push(version);
    else if (meaning === 'delete') append(deletes, logicalKey(version.name), version);
  }
  const moves = [...deletes.values()].map((versions) => deletion(versions, known));
  return { moves: [...moves.toSorted(byTime), ...inserts.toSorted(byTime)], notes };
}

function meaningOf(
  entry: Entry | undefined,
  flag: ConditionFlag,
  { isLoaded, isKeyOffered }: { isLoaded: boolean; isKeyOffered: boolean },
): 'insert' | 'delete' | 'note' | 'nothing' {
  const isSettled = entry?.fate === 'offered' || entry?.fate === 'noted' || entry?.fate === 'quarantined';
  if (isSettled && entry.flag === flag) return 'nothing';
  if (flag === '1') return 'insert';
  if (flag === '2') return 'note';
  if (wasOffered(entry) || isKeyOffered) return 'delete';
  // Nothing of the key ever left: only a deletion that is itself news is told.
  const isNews = isLoaded && (entry === undefined || (entry.flag === '0' && !isSettled));
  return isNews ? 'delete' : 'note';
}

function keysOffered(known: ReadonlyMap<string, Entry>): ReadonlySet<string> {
  const keys = new Set<string>();
  // Within one folder the order number is what tells logical keys apart.
  for (const [key, entry] of known) if (wasOffered(entry)) keys.add(key.slice(0, key.indexOf('_')));
  return keys;
}

function deletion(versions: readonly Version[], known: ReadonlyMap<string, Entry>): Move {
  const fresh = versions.filter(({ key }) => isFresh(known.get(key)));
  const candidates = (fresh.length > 0 ? fresh : versions).toSorted((a, b) => compareTimes(b, a));
  const version = candidates[0] as Version;
  return { op: 'DEL', version, alongside: versions.filter((other) => other !== version) };
}

/** Not read yet: the deletion's own message, or a file that was gone before it could be taken. */
function isFresh(entry: Entry | undefined): boolean {
  return entry === undefined || entry.fate === 'pending' || entry.fate === 'deferred';
}

function byTime(a: Move, b: Move): number {
  return compareTimes(a.version, b.version);
}

/** Times have 14 to 17 digits; a shorter one means zeros. */
function compareTimes(a: Version, b: Version): number {
  const [left, right] = [a.name.time.padEnd(17, '0'), b.name.time.padEnd(17, '0')];
  return left < right ? -1 : Number(left > right);
}

function append<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
