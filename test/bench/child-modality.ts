/**
 * A modality that sends instances of any size by C-STORE on one association, made while they are sent: neither side has
 * to hold one. Says `{"status": "0x0000", "seconds": …}`, from the first byte to the last answer; the status is the first
 * that is no success.
 *
 * `node child-modality.ts PORT PATIENT PIXEL-BYTES [COUNT]`
 */
import { instance, type Instance, Writer } from '../peers/dicom/dataset.ts';
import { data, RawScu, storeRequest } from '../peers/dicom/scu.ts';
import { pour } from './noise.ts';

const [port, patientId = '', pixelBytes, count = '1'] = process.argv.slice(2);
const startedAt = performance.now();
const scu = await RawScu.associate(Number(port));
let status = '0x0000';
for (let number = 1; number <= Number(count) && status === '0x0000'; number++) {
  status = await store(instance({ patientId, number, size: 0 }), Number(pixelBytes));
}
const seconds = (performance.now() - startedAt) / 1000;
await scu.release();
process.stdout.write(`${JSON.stringify({ status, seconds })}\n`);

async function store(head: Instance, byteCount: number): Promise<string> {
  scu.say(data(1, 3, storeRequest(head)), data(1, 0, opening(head.dataSet, byteCount)));
  await pour(scu.socket, byteCount, (piece, isLast) => headOf(piece.length, isLast ? 2 : 0));
  return scu.status();
}

/** What stands before the fragment in a P-DATA-TF of one PDV. */
function headOf(fragmentBytes: number, control: number): Buffer {
  const whole = data(1, control, Buffer.alloc(0));
  whole.writeUInt32BE(fragmentBytes + 6, 2);
  whole.writeUInt32BE(fragmentBytes + 2, 6);
  return whole;
}

/** A data set up to its pixels: the empty element at its end gets another length. */
function opening(dataSet: Buffer, byteCount: number): Buffer {
  const empty = new Writer().element(0x7fe00010, 'OW', Buffer.alloc(0));
  const length = new Writer().uint32(byteCount);
  return Buffer.concat([dataSet.subarray(0, -empty.length), empty.subarray(0, -length.length), length]);
}
