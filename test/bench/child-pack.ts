/**
 * Packs the payloads of one file, which lie in it one after another, into a parcel, all of them so many times, and says
 * `{"seconds": …, "peakMb": …}`. The digests were known when the payloads were taken, so that they are not timed here;
 * that packing checks them is. Reading rows and opening their seals is not a part of this (flow/pack.ts).
 *
 * `node child-pack.ts LANE PAYLOADS PAYLOAD-BYTES TIMES OUT RECIPIENT…`
 */
import { createHash } from 'node:crypto';
import { openSync, readSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { isoJst, systemClock } from '../../agent/base/clock.ts';
import { readAhead } from '../../agent/base/files.ts';
import { newSigningKey, signJws } from '../../agent/base/jws.ts';
import { frameBytes } from '../../agent/base/seal.ts';
import type { Lane } from '../../agent/model/record.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { packParcel, type ParcelEntry, type ParcelTrailer } from '../../agent/parcel/index.ts';
import { recordLineOf } from '../parcel/record-line.ts';
import { memoryOf } from './machine.ts';

/** Larger ones come in pieces. */
const pieceBytes = 512 * 1024;

/** Small payloads read at once: rows are in memory, too, when they are packed. */
const batchBytes = 4 * 1024 * 1024;

const [lane, payloads = '', payloadBytes = '', times = '', out = '', ...recipients] = process.argv.slice(2);
const lines = await described(payloads, Number(payloadBytes));
const key = newSigningKey();
const startedAt = performance.now();
const packed = await packParcel({
  path: out,
  lane: lane as Lane,
  recipients,
  entries: entries(),
  trailer: () => trailer(),
});
signJws(key, jwsTypes.parcel, packed);
const seconds = (performance.now() - startedAt) / 1000;
const { peakMb } = await memoryOf(process.pid);
process.stdout.write(`${JSON.stringify({ seconds, peakMb })}\n`);

interface Described {
  readonly line: ParcelEntry['line'];
  readonly at: number;
}

async function described(path: string, payloadBytes: number): Promise<Described[]> {
  const total = statSync(path).size;
  const file = await open(path);
  const piece = Buffer.alloc(Math.min(payloadBytes, pieceBytes));
  const found: Described[] = [];
  for (let at = 0; at < total; at += payloadBytes) {
    const bytes = Math.min(payloadBytes, total - at);
    const digest = createHash('sha256');
    for (let done = 0; done < bytes; ) {
      const { bytesRead } = await file.read(piece, 0, Math.min(piece.length, bytes - done), at + done);
      digest.update(piece.subarray(0, bytesRead));
      done += bytesRead;
    }
    found.push({ at, line: recordLineOf(found.length, { bytes, sha256: digest.digest('hex') }) });
  }
  await file.close();
  return found;
}

/** A small payload is whole, as it is from a row; a large one comes in pieces, as it does from the spool. */
function* entries(): Generator<ParcelEntry> {
  const row = rowsOf(payloads);
  for (let time = 0; time < Number(times); time++) {
    for (const { line, at } of lines) {
      const recordId = `${time.toString(16).padStart(4, '0')}${line.recordId.slice(4)}`;
      yield {
        line: { ...line, recordId },
        body: line.bytes <= pieceBytes ? row(at, line.bytes) : pieces(at, line),
      };
    }
  }
}

function pieces(at: number, { bytes }: Described['line']): AsyncIterable<Uint8Array> {
  return readAhead(payloads, { pieceBytes: frameBytes, start: at, end: at + bytes });
}

/** Gives ranges of a file that are asked for in order. */
function rowsOf(path: string): (at: number, bytes: number) => Buffer {
  const file = openSync(path, 'r');
  let batch = Buffer.alloc(0);
  let from = 0;
  return (at, bytes) => {
    if (at < from || at + bytes > from + batch.length) {
      batch = Buffer.allocUnsafe(batchBytes);
      from = at;
      readSync(file, batch, 0, batchBytes, at);
    }
    return batch.subarray(at - from, at - from + bytes);
  };
}

function trailer(): ParcelTrailer {
  const subject = { subjectId: 's-1', patientId: '0000012345', patientIdNormalized: '12345', nameKanji: '架橋　太郎' };
  return {
    subjects: [{ ...subject, recordId: lines[0]?.line.recordId ?? '' }],
    parcel: {
      parcelId: '01KAKEHASHI0BENCH',
      agent: '1312345670',
      epoch: 1,
      sequence: 1,
      registerVersion: 1,
      ledgerHead: { seq: 1, hash: 'ab'.repeat(32) },
      createdAt: isoJst(systemClock.now()),
      completeThrough: {},
      software: 'kakehashi/bench',
    },
  };
}
