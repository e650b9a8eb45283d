import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { dayJst, systemClock } from '../../agent/base/clock.ts';
import { type PublicJwk, thumbprint } from '../../agent/base/jws.ts';
import { ConnectorError, reasonOf } from '../../agent/model/errors.ts';
import { createClient } from '../keys/clients.ts';
import { facilityCode, publicJwkShape } from '../keys/shapes.ts';
import { type Command, usage } from './command.ts';

export const client: Command = {
  name: 'client',
  summary: "Issues a hospital's certificate and makes the folder it is given.",
  options: {
    dir: { argument: 'DIR', description: 'the key folder, from keygen', isRequired: true },
    facility: { argument: 'CODE', description: "the hospital's facility code", isRequired: true },
    'agent-key': { argument: 'FILE', description: "the agent's public key (JWK); default: the first that says hello" },
    out: { argument: 'DIR', description: 'the folder to make; default ./CODE' },
  },
  notes: [
    'Again for the same hospital issues one more certificate, valid beside the old one: so that the new one is in',
    'place before the old one ends. Hand the folder over in a way you trust; it holds the private key.',
  ],

  run: async (args, terminal) => {
    const facility = facilityCode.safeParse(args.required('facility'));
    if (!facility.success) throw usage('--facility: expected letters, digits, - and _, at most 64.');
    const file = args.text('agent-key');
    const agentKey = file === undefined ? undefined : readPublicKey(file);
    const out = resolve(args.text('out') ?? facility.data);
    const { serial, notAfter } = await createClient(resolve(args.required('dir')), {
      facility: facility.data,
      now: systemClock.now(),
      out,
      ...(agentKey ? { agentKey } : {}),
    });
    terminal.say(`For hospital ${facility.data}: ${out}`);
    terminal.say();
    terminal.table(
      ['FILE', 'GOES INTO THE CONFIGURATION AS'],
      [
        ['ca.pem', 'producers[].tls.ca'],
        ['client.pem', 'producers[].tls.cert'],
        ['client.key', 'producers[].tls.key'],
        ['recipients', 'producers[].recipients'],
        ['receipt.jwks', 'producers[].receiptKeys'],
      ],
    );
    terminal.say();
    terminal.say(`Valid until ${dayJst(notAfter)}. To shut it out, add this line to ${args.required('dir')}/revoked:`);
    terminal.say(`  ${serial}  # ${facility.data}`);
    terminal.say(
      agentKey ? `Signing key expected: ${thumbprint(agentKey)}` : 'The first signing key that says hello is pinned.',
    );
    terminal.result({ facility: facility.data, out, serial, notAfter: new Date(notAfter).toISOString() });
  },
};

function readPublicKey(path: string): PublicJwk {
  try {
    return publicJwkShape.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    const isSystem = cause instanceof Error && 'code' in cause;
    const reason = isSystem ? reasonOf(cause) : 'it is not an Ed25519 public key as JSON (JWK)';
    throw new ConnectorError('FILE_UNREADABLE', { path, reason }, { cause });
  }
}
