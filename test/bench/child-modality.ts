/**
 * A modality that sends one instance of any size by C-STORE, made while it is sent: neither side has to hold it. Says
 * `{"status": "0x0000"}` when it was answered.
 *
 * `node child-modality.ts PORT PATIENT PIXEL-BYTES`
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { instance, Writer } from '../peers/dicom/dataset.ts';
import { data, RawScu, storeRequest } from '../peers/dicom/scu.ts';

/** What fits in one P-DATA-TF of ours, with its header. */
const fragmentBytes = 131_072 - 6;

const [port, patientId = '', pixelBytes] = process.argv.slice(2);
const status = await store(Number(port), patientId, Number(pixelBytes));
process.stdout.write(`${JSON.stringify({ status })}\n`);

async function store(port: number, patientId: string, pixelBytes: number): Promise<string> {
  const head = instance({ patientId, size: 0 });
  const scu = await RawScu.associate(port);
  scu.say(data(1, 3, storeRequest(head)));
  scu.say(data(1, 0, opening(head.dataSet, pixelBytes)));
  // Noise, as little of it as a compressor could not use: nothing here must be fast because it is all zeros.
  const noise = randomBytes(fragmentBytes);
  for (let at = 0; at < pixelBytes; at += fragmentBytes) {
    const fragment = noise.subarray(0, Math.min(fragmentBytes, pixelBytes - at));
    const isLast = at + fragmentBytes >= pixelBytes;
    if (!scu.socket.write(data(1, isLast ? 2 : 0, fragment))) await once(scu.socket, 'drain');
  }
  const answered = await scu.status();
  await scu.release();
  return answered;
}

/** A data set up to its pixels: the empty element at its end gets another length. */
function opening(dataSet: Buffer, pixelBytes: number): Buffer {
  const empty = new Writer().element(0x7fe00010, 'OW', Buffer.alloc(0));
  const length = new Writer().uint32(pixelBytes);
  return Buffer.concat([dataSet.subarray(0, -empty.length), empty.subarray(0, -length.length), length]);
}
