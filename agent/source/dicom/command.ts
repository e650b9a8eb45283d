/**
 * Command sets, PS3.7 section 6.3.1: elements of group 0000, implicit VR little endian whatever the context's transfer
 * syntax is.
 */
import { broken } from './pdu.ts';

/** PS3.7 section E.1. */
export const commandFields = { store: 0x0001, echo: 0x0030, cancel: 0x0fff } as const;

const elements = {
  affectedSopClassUid: 0x0002,
  commandField: 0x0100,
  messageId: 0x0110,
  respondedTo: 0x0120,
  dataSetType: 0x0800,
  status: 0x0900,
  affectedSopInstanceUid: 0x1000,
  moveOriginator: 0x1030,
} as const;

const noDataSet = 0x0101;
const responseBit = 0x8000;

/** PS3.7 annex C and PS3.4 table B.2-1. */
const statuses = {
  success: 0x0000,
  unrecognizedOperation: 0x0211,
  outOfResources: 0xa700,
  cannotUnderstand: 0xc000,
} as const;
export type Status = keyof typeof statuses;

export interface Command {
  readonly field: number;
  readonly messageId: number;
  readonly hasDataSet: boolean;
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  /** AE title of who asked the sender to send this by C-MOVE; '' without one. */
  readonly moveOriginator: string;
}

/** @throws ConnectorError DICOM_PROTOCOL_BROKEN */
export function readCommand(bytes: Buffer): Command {
  const values = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    if (at + 8 > bytes.length || bytes.readUInt16LE(at) !== 0) throw broken('bad-command');
    const end = at + 8 + bytes.readUInt32LE(at + 4);
    if (end > bytes.length) throw broken('bad-command');
    values.set(bytes.readUInt16LE(at + 2), bytes.subarray(at + 8, end));
    at = end;
  }
  const number = (element: number) => {
    const value = values.get(element);
    if (value?.length !== 2) throw broken('bad-command');
    return value.readUInt16LE(0);
  };
  const text = (element: number) => (values.get(element)?.toString('latin1') ?? '').replaceAll(/^ +|[\0 ]+$/g, '');
  const field = number(elements.commandField);
  // A C-CANCEL has no message id of its own.
  const idElement = field === commandFields.cancel ? elements.respondedTo : elements.messageId;
  return {
    field,
    messageId: number(idElement),
    hasDataSet: number(elements.dataSetType) !== noDataSet,
    sopClassUid: text(elements.affectedSopClassUid),
    sopInstanceUid: text(elements.affectedSopInstanceUid),
    moveOriginator: text(elements.moveOriginator),
  };
}

/** The response to a request, PS3.7 tables 9.3-2 and 9.3-13. */
export function encodeResponse(to: Command, status: Status): Buffer {
  const body = Buffer.concat([
    ...(to.sopClassUid === '' ? [] : [element(elements.affectedSopClassUid, uid(to.sopClassUid))]),
    element(elements.commandField, unsigned16(to.field | responseBit)),
    element(elements.respondedTo, unsigned16(to.messageId)),
    element(elements.dataSetType, unsigned16(noDataSet)),
    element(elements.status, unsigned16(statuses[status])),
    ...(to.sopInstanceUid === '' ? [] : [element(elements.affectedSopInstanceUid, uid(to.sopInstanceUid))]),
  ]);
  const groupLength = Buffer.alloc(4);
  groupLength.writeUInt32LE(body.length);
  return Buffer.concat([element(0, groupLength), body]);
}

function element(number: number, value: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(number, 2);
  head.writeUInt32LE(value.length, 4);
  return Buffer.concat([head, value]);
}

function unsigned16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** Of even length, PS3.5 section 9.1. What is too long to be a UID is not echoed whole: our answer stays small. */
function uid(text: string): Buffer {
  const bytes = Buffer.from(text.slice(0, 64), 'latin1');
  return bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
}
