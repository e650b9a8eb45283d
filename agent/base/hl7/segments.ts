/**
 * The few segments that routing needs, found on bytes and decoded one by one.
 *
 * Bounded whatever the message holds: segments are walked through the first `walkedBytesMax`; beyond that only PID and
 * MRG are looked for, because a second patient anywhere in the message matters. Of a 20 MB message with an embedded
 * PDF nothing is decoded but these.
 */
import { CR, LF } from './bytes.ts';

const KiB = 1024;

/** A message of ordinary size is seen whole; of a larger one, the beginning, where the segments about the patient are. */
export const walkedBytesMax = 256 * KiB;

/** Bytes of one segment that are decoded: a PID with every field filled has some 2 KiB. */
export const segmentBytesMax = 64 * KiB;

/** Segments of one name that are judged; one more is kept, as the sign that there were more. */
export const sameNameMax = 256;

const wanted = ['PID', 'MRG', 'EVN', 'ORC', 'OBR', 'IN1', 'RXR', 'RXC'] as const;
export type SegmentName = (typeof wanted)[number];

/** Three letters as one number: comparing numbers costs a tenth of making strings, and this runs for every segment. */
const nameByCode = new Map(wanted.map((name) => [codeOf(Buffer.from(name), 0), name]));

export interface Segments {
  readonly byName: ReadonlyMap<SegmentName, readonly Buffer[]>;
  /** False when something of the message was not looked at: then nothing may be concluded from what is absent. */
  readonly isWhole: boolean;
}

export function findSegments(message: Buffer): Segments {
  const byName = new Map<SegmentName, Buffer[]>();
  // Segments end with CR; where a message has none, its sender ends them with LF.
  const end = message.includes(CR) ? CR : LF;
  let at = 0;
  while (at < message.length && at < walkedBytesMax) {
    if (message[at] === LF) {
      at++;
      continue;
    }
    const found = message.indexOf(end, at);
    const next = found < 0 ? message.length : found;
    keep(byName, message, at, next);
    at = next + 1;
  }
  const isWalked = at >= message.length;
  if (!isWalked) for (const name of ['PID', 'MRG'] as const) findFurther(byName, message, { name, from: at - 1, end });
  return { byName, isWhole: isWalked && byName.values().every(({ length }) => length <= sameNameMax) };
}

function keep(byName: Map<SegmentName, Buffer[]>, message: Buffer, from: number, to: number): void {
  const name = nameByCode.get(codeOf(message, from));
  if (!name) return;
  const same = byName.get(name);
  const segment = message.subarray(from, Math.min(to, from + segmentBytesMax));
  if (!same) byName.set(name, [segment]);
  else if (same.length <= sameNameMax) same.push(segment);
}

function findFurther(
  byName: Map<SegmentName, Buffer[]>,
  message: Buffer,
  { name, from, end }: { name: SegmentName; from: number; end: number },
): void {
  for (const before of ['\r', '\n']) {
    const needle = `${before}${name}`;
    for (let at = message.indexOf(needle, from, 'latin1'); at >= 0; at = message.indexOf(needle, at + 1, 'latin1')) {
      if ((byName.get(name)?.length ?? 0) > sameNameMax) return;
      const to = message.indexOf(end, at + 1);
      keep(byName, message, at + 1, to < 0 ? message.length : to);
    }
  }
}

function codeOf(bytes: Buffer, at: number): number {
  return ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
}
