/**
 * Packs the payloads of one file, which lie in it one after another, into a parcel, and says
 * `{"seconds": …, "peakMb": …}`. The digests were known when the payloads were taken, so that they are not timed here;
 * that packing checks them is.
 *
 * `node child-pack.ts LANE PAYLOADS PAYLOAD-BYTES OUT RECIPIENT…`
 */
import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { isoJst, systemClock } from '../../agent/base/clock.ts';
import { newSigningKey, signJws } from '../../agent/base/jws.ts';
import type { Lane } from '../../agent/model/record.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { packParcel, type ParcelEntry, type ParcelTrailer } from '../../agent/parcel/index.ts';
import { recordLineOf } from '../parcel/record-line.ts';
import { memoryOf } from './machine.ts';

/** Pieces in which the spool gives a payload. */
const pieceBytes = 512 * 1024;

const [lane, payloads = '', payloadBytes = '', out = '', ...recipients] = process.argv.slice(2);
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
async function* entries(): AsyncGenerator<ParcelEntry> {
  const file = await open(payloads);
  for (const { line, at } of lines) {
    if (line.bytes <= pieceBytes) {
      const body = Buffer.allocUnsafe(line.bytes);
      await file.read(body, 0, line.bytes, at);
      yield { line, body };
    } else {
      const end = at + line.bytes - 1;
      yield { line, body: createReadStream(payloads, { start: at, end, highWaterMark: pieceBytes }) };
    }
  }
  await file.close();
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
