/** A SMART Backend Services token endpoint: checks the client's statement with a library of another house. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { type CryptoKey, importSPKI, type JWTPayload, jwtVerify, type ProtectedHeaderParameters } from 'jose';
import { portOf } from '../producer/port.ts';

export interface Statement {
  readonly header: ProtectedHeaderParameters;
  readonly claims: JWTPayload;
  readonly form: URLSearchParams;
}

export class TokenServer {
  readonly #server: Server;
  readonly #publicKeyPem: string;
  readonly #alg: string;
  /** Statements that were found right. */
  readonly statements: Statement[] = [];
  /** What was wrong with those that were not. */
  readonly complaints: unknown[] = [];
  /** The clock its checks go by. */
  readonly now: () => number;
  expiresInSeconds = 300;
  /** Answers instead of a token. */
  refusal: { readonly status: number; readonly body: string } | undefined;
  #port = 0;

  private constructor(publicKeyPem: string, alg: string, now: () => number) {
    this.#publicKeyPem = publicKeyPem;
    this.#alg = alg;
    this.now = now;
    const respond = async (request: IncomingMessage, response: ServerResponse) => {
      const asked = await text(request);
      const { status, body } = this.refusal ?? (await this.#answer(asked));
      response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    };
    this.#server = createServer((request, response) => void respond(request, response));
  }

  static async start(publicKeyPem: string, alg: 'ES384' | 'RS384', now: () => number): Promise<TokenServer> {
    const server = new TokenServer(publicKeyPem, alg, now);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    server.#port = portOf(server.#server);
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/auth/token`;
  }

  /** The token it gave last; each is another. */
  get token(): string {
    return `token-${this.statements.length}`;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(body: string): Promise<{ status: number; body: string }> {
    const form = new URLSearchParams(body);
    try {
      const key: CryptoKey = await importSPKI(this.#publicKeyPem, this.#alg);
      const checks = { audience: this.url, algorithms: [this.#alg], typ: 'JWT', currentDate: new Date(this.now()) };
      const { payload, protectedHeader } = await jwtVerify(form.get('client_assertion') ?? '', key, checks);
      this.statements.push({ header: protectedHeader, claims: payload, form });
    } catch (error) {
      this.complaints.push(error);
      return { status: 401, body: '{"error":"invalid_client","error_description":"secret words"}' };
    }
    const answer = { access_token: this.token, token_type: 'bearer', expires_in: this.expiresInSeconds };
    return { status: 200, body: JSON.stringify(answer) };
  }
}
