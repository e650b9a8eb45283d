/**
 * A frame cut into single messages at byte boundaries. A frame is one message nearly always; it may also be a batch
 * (HL7 v2.5.1 section 2.10.3), or several messages one after the other:
 *
 * ```
 * [FHS] { [BHS] { MSH … } [BTS] } [FTS]
 * ```
 * The pieces, joined, are the frame. A message runs from its MSH to the next of these five segments, its last segment
 * end included; the other four and what follows them are *envelope*: acknowledged, not kept.
 *
 * Cut on raw bytes, which is safe in all four encodings: a segment begins after CR or LF, and these are no part of any
 * character. In ISO-2022-JP five bytes after a CR may still be kanji when the sender did not return to ASCII first;
 * HL7 v2.5.1 2.14.9.18 demands that it does, so a start found in two-byte state is content and cuts nothing.
 */
import { readHeader, type Header } from '../../base/hl7/header.ts';
import { CR, ESC, LF } from '../../base/hl7/bytes.ts';

/** More messages than any batch seen; with fewer, one frame cannot make us keep millions of small things in memory. */
export const messagesPerFrameMax = 10_000;

export interface Piece {
  readonly kind: 'message' | 'envelope';
  readonly bytes: Buffer;
  /** Index of the batch it belongs to, counted from 0. */
  readonly batch: number;
  /** The count in BTS-1 or FTS-1 disagrees with what arrived. */
  readonly isMiscounted: boolean;
}

export interface SplitFrame {
  readonly pieces: readonly Piece[];
  /** Headers of batches that have one, by index of the batch. */
  readonly batchHeaders: ReadonlyMap<number, Header>;
}

const names = ['MSH', 'FHS', 'BHS', 'BTS', 'FTS'] as const;
type Name = (typeof names)[number];

interface Start {
  readonly at: number;
  readonly name: Name;
}

/** Undefined when the frame does not begin with MSH, BHS or FHS, or holds more than `messagesPerFrameMax` messages. */
export function splitFrame(frame: Buffer): SplitFrame | undefined {
  const from = skipBlank(frame);
  const first = nameAt(frame, from);
  if (!first || first === 'BTS' || first === 'FTS') return undefined;
  if (first === 'MSH' && from === 0 && !hasSecondMessage(frame)) {
    return {
      pieces: [{ kind: 'message', bytes: frame, batch: 0, isMiscounted: false }],
      batchHeaders: new Map(),
    };
  }
  const starts = findStarts(frame, { at: from, name: first });
  return starts && assemble(frame, from, starts);
}

/** A byte order mark and line ends before the first segment say nothing. */
function skipBlank(frame: Buffer): number {
  let at = frame[0] === 0xef && frame[1] === 0xbb && frame[2] === 0xbf ? 3 : 0;
  while (frame[at] === CR || frame[at] === LF) at++;
  return at;
}

function nameAt(frame: Buffer, at: number): Name | undefined {
  const text = frame.toString('latin1', at, at + 3);
  return names.find((name) => name === text);
}

function hasSecondMessage(frame: Buffer): boolean {
  return frame.indexOf('\rMSH', 0, 'latin1') >= 0 || frame.indexOf('\nMSH', 0, 'latin1') >= 0;
}

/** The starts in order, or undefined when there are too many. Native search only: a frame may have 64 MiB. */
function findStarts(frame: Buffer, first: Start): Start[] | undefined {
  const found: Start[] = [first];
  for (const name of names) {
    for (const end of ['\r', '\n']) {
      const needle = `${end}${name}`;
      for (let at = frame.indexOf(needle, first.at, 'latin1'); at >= 0; at = frame.indexOf(needle, at + 1, 'latin1')) {
        if (found.push({ at: at + 1, name }) > 4 * messagesPerFrameMax) return undefined;
      }
    }
  }
  const starts = inAsciiState(
    frame,
    found.toSorted((a, b) => a.at - b.at),
  );
  return starts.filter(({ name }) => name === 'MSH').length > messagesPerFrameMax ? undefined : starts;
}

function inAsciiState(frame: Buffer, starts: readonly Start[]): Start[] {
  let isAscii = true;
  let from = 0;
  return starts.filter(({ at }) => {
    const escape = frame.subarray(from, at).lastIndexOf(ESC);
    if (escape >= 0) isAscii = isSingleByte(frame, from + escape);
    from = at;
    return isAscii;
  });
}

/** `ESC ( B` and `ESC ( J` return to single bytes with ASCII's letters; every other sequence leaves them. */
function isSingleByte(frame: Buffer, escape: number): boolean {
  const sequence = frame.toString('latin1', escape + 1, escape + 3);
  return sequence === '(B' || sequence === '(J';
}

/** Gathers pieces while walking the starts; counts are known only at each trailer. */
function assemble(frame: Buffer, from: number, starts: readonly Start[]): SplitFrame {
  const drafts: { kind: Piece['kind']; bytes: Buffer; batch: number }[] = [];
  const batchHeaders = new Map<number, Header>();
  const miscounted = new Set<number>();
  let batch = 0;
  let messageCount = 0;
  let isFileMiscounted = false;
  let isBatchOpen = false;
  if (from > 0) drafts.push({ kind: 'envelope', bytes: frame.subarray(0, from), batch });
  starts.forEach(({ at, name }, index) => {
    const bytes = frame.subarray(at, starts[index + 1]?.at ?? frame.length);
    if (name === 'BHS' || (name === 'MSH' && !isBatchOpen)) {
      // A batch without BTS ends where the next begins.
      if (isBatchOpen) batch++;
      isBatchOpen = true;
      messageCount = 0;
    }
    if (name === 'BHS') {
      const header = readHeader(bytes, undefined, 'BHS');
      if (header) batchHeaders.set(batch, header);
    }
    if (name === 'MSH') messageCount++;
    drafts.push({ kind: name === 'MSH' ? 'message' : 'envelope', bytes, batch });
    if (name === 'BTS') {
      if (disagrees(bytes, messageCount)) miscounted.add(batch);
      if (isBatchOpen) batch++;
      isBatchOpen = false;
      messageCount = 0;
    }
    if (name === 'FTS' && disagrees(bytes, isBatchOpen ? batch + 1 : batch)) isFileMiscounted = true;
  });
  const pieces = drafts.map((draft) => ({ ...draft, isMiscounted: isFileMiscounted || miscounted.has(draft.batch) }));
  return { pieces, batchHeaders };
}

/** BTS-1 and FTS-1 are optional: only a number that is there can be wrong. */
function disagrees(trailer: Buffer, count: number): boolean {
  const stated = /^[BF]TS[^0-9A-Za-z\s](\d{1,9})(?!\d)/.exec(trailer.toString('latin1', 0, 16))?.[1];
  return stated !== undefined && Number(stated) !== count;
}
