/**
 * The PDUs of the DICOM upper layer that are no P-DATA, PS3.8 section 9.3. Big endian throughout.
 *
 * ```
 * PDU          = type(1) 0(1) length(4) body
 * A-ASSOCIATE  = version(2) 0(2) called AE(16) calling AE(16) 0(32) item*
 * item         = type(1) 0(1) length(2) value
 * ```
 */
import { ConnectorError } from '../../model/errors.ts';
import { applicationContext, implementationClassUid, implementationVersionName, isUid } from './uids.ts';

export const pduTypes = {
  request: 1,
  accept: 2,
  reject: 3,
  data: 4,
  releaseRequest: 5,
  releaseReply: 6,
  abort: 7,
} as const;

const KiB = 1024;

/** What we announce as the largest P-DATA-TF we take, and hold peers to. Four of them fit into one read of a socket. */
export const dataPduBytesMax = 128 * KiB;

/** Any other PDU: a request with 128 contexts of 30 transfer syntaxes each is a good 100 KiB. */
export const controlPduBytesMax = 128 * KiB;

/** Presentation context ids are odd and one byte, so there cannot be more. PS3.8 section 9.3.2.2. */
const contextsMax = 128;

/** Our answers are one P-DATA of at most this size; a peer that cannot take that much is refused. */
export const answerBytesMax = 512;

export interface ProposedContext {
  readonly id: number;
  readonly abstractSyntax: string;
  readonly transferSyntaxes: readonly string[];
}

export interface AssociateRequest {
  readonly protocolVersion: number;
  readonly calledAe: string;
  readonly callingAe: string;
  readonly applicationContext: string;
  readonly contexts: readonly ProposedContext[];
  /** Largest P-DATA-TF the peer takes; 0: any. */
  readonly dataBytesMax: number;
  /** The AE titles and reserved bytes, to be echoed as they came (PS3.8 table 9-17). */
  readonly fixedPart: Buffer;
}

/** Why what a peer sent is no DICOM; the word goes into the log, the number into the A-ABORT (PS3.8 table 9-26). */
const faults = {
  'unknown-pdu': 1,
  'unexpected-pdu': 2,
  'unexpected-data': 5,
  'pdu-too-long': 6,
  'bad-item': 6,
  'bad-pdv': 6,
  'bad-context': 6,
  'bad-command': 6,
} as const;
export type Fault = keyof typeof faults;

export function broken(fault: Fault): ConnectorError {
  return new ConnectorError('DICOM_PROTOCOL_BROKEN', { fault });
}

const itemTypes = {
  applicationContext: 0x10,
  proposedContext: 0x20,
  answeredContext: 0x21,
  abstractSyntax: 0x30,
  transferSyntax: 0x40,
  userInformation: 0x50,
  maximumLength: 0x51,
  implementationClassUid: 0x52,
  implementationVersionName: 0x55,
} as const;

const fixedPartBytes = 68;

/**
 * Reads the body of an A-ASSOCIATE-RQ. Contexts may come in any order; negotiations we do not know are left alone,
 * which means that they are not granted (asynchronous operations, roles, user identity).
 *
 * @throws ConnectorError DICOM_PROTOCOL_BROKEN
 */
export function readAssociateRequest(body: Buffer): AssociateRequest {
  if (body.length < fixedPartBytes) throw broken('bad-item');
  const contexts = new Map<number, ProposedContext>();
  let context = '';
  let dataBytesMax = 0;
  for (const { type, value } of items(body.subarray(fixedPartBytes))) {
    if (type === itemTypes.applicationContext) context = text(value);
    if (type === itemTypes.userInformation) dataBytesMax = readMaximumLength(value);
    if (type !== itemTypes.proposedContext) continue;
    const proposed = readContext(value);
    if (contexts.has(proposed.id) || contexts.size === contextsMax) throw broken('bad-context');
    contexts.set(proposed.id, proposed);
  }
  return {
    protocolVersion: body.readUInt16BE(0),
    calledAe: text(body.subarray(4, 20)),
    callingAe: text(body.subarray(20, 36)),
    applicationContext: context,
    contexts: [...contexts.values()],
    dataBytesMax,
    fixedPart: Buffer.from(body.subarray(0, fixedPartBytes)),
  };
}

function readContext(value: Buffer): ProposedContext {
  if (value.length < 4) throw broken('bad-item');
  const parts = [...items(value.subarray(4))];
  const abstractSyntax = parts.find(({ type }) => type === itemTypes.abstractSyntax);
  return {
    id: value[0] ?? 0,
    abstractSyntax: abstractSyntax ? text(abstractSyntax.value) : '',
    transferSyntaxes: parts.filter(({ type }) => type === itemTypes.transferSyntax).map(({ value }) => text(value)),
  };
}

function readMaximumLength(value: Buffer): number {
  const item = [...items(value)].find(({ type }) => type === itemTypes.maximumLength);
  if (!item) return 0;
  if (item.value.length !== 4) throw broken('bad-item');
  return item.value.readUInt32BE(0);
}

function* items(bytes: Buffer): Generator<{ type: number; value: Buffer }> {
  for (let at = 0; at < bytes.length; ) {
    if (at + 4 > bytes.length) throw broken('bad-item');
    const end = at + 4 + bytes.readUInt16BE(at + 2);
    if (end > bytes.length) throw broken('bad-item');
    yield { type: bytes[at] ?? 0, value: bytes.subarray(at + 4, end) };
    at = end;
  }
}

function text(bytes: Buffer): string {
  return bytes.toString('latin1').replaceAll(/^[\0 ]+|[\0 ]+$/g, '');
}

/** PS3.8 table 9-18. */
const contextResults = { accepted: 0, abstractSyntaxNotSupported: 3, transferSyntaxesNotSupported: 4 } as const;

export interface AnsweredContext {
  readonly id: number;
  readonly result: keyof typeof contextResults;
  /** Of no meaning, but present, when the context is not accepted. */
  readonly transferSyntax: string;
}

export function encodeAssociateAccept(fixedPart: Buffer, contexts: readonly AnsweredContext[]): Buffer {
  const fixed = Buffer.from(fixedPart);
  fixed.writeUInt16BE(1, 0);
  const maximum = Buffer.alloc(4);
  maximum.writeUInt32BE(dataPduBytesMax);
  const user = [
    item(itemTypes.maximumLength, maximum),
    item(itemTypes.implementationClassUid, Buffer.from(implementationClassUid)),
    item(itemTypes.implementationVersionName, Buffer.from(implementationVersionName)),
  ];
  return pdu(pduTypes.accept, [
    fixed,
    item(itemTypes.applicationContext, Buffer.from(applicationContext)),
    ...contexts.map(answeredContext),
    item(itemTypes.userInformation, Buffer.concat(user)),
  ]);
}

function answeredContext({ id, result, transferSyntax }: AnsweredContext): Buffer {
  const head = Buffer.from([id, 0, contextResults[result], 0]);
  return item(
    itemTypes.answeredContext,
    Buffer.concat([head, item(itemTypes.transferSyntax, Buffer.from(isUid(transferSyntax) ? transferSyntax : ''))]),
  );
}

/** Result, source and reason of an A-ASSOCIATE-RJ, PS3.8 table 9-21. */
const rejections = {
  'called-ae': [1, 1, 7],
  'calling-ae': [1, 1, 3],
  'application-context': [1, 1, 2],
  'protocol-version': [1, 2, 2],
  'too-small': [1, 1, 1],
  'too-many': [2, 3, 2],
} as const;
export type Rejection = keyof typeof rejections;

export function encodeReject(rejection: Rejection): Buffer {
  return pdu(pduTypes.reject, [Buffer.from([0, ...rejections[rejection]])]);
}

export function encodeReleaseReply(): Buffer {
  return pdu(pduTypes.releaseReply, [Buffer.alloc(4)]);
}

/** From the service provider, with a reason, or (without one) from its user. */
export function encodeAbort(fault: Fault | undefined): Buffer {
  return pdu(pduTypes.abort, [Buffer.from([0, 0, fault ? 2 : 0, fault ? faults[fault] : 0])]);
}

/** A whole command in one P-DATA-TF of one PDV, PS3.8 section 9.3.5. */
export function encodeCommandPdu(contextId: number, command: Buffer): Buffer {
  const head = Buffer.alloc(6);
  head.writeUInt32BE(command.length + 2);
  head[4] = contextId;
  head[5] = 0b11;
  return pdu(pduTypes.data, [head, command]);
}

function pdu(type: number, parts: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(6);
  head[0] = type;
  head.writeUInt32BE(
    parts.reduce((sum, { length }) => sum + length, 0),
    2,
  );
  return Buffer.concat([head, ...parts]);
}

function item(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head[0] = type;
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value]);
}
