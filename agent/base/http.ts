/**
 * `node:http` without its WebSocket: an `import` of the module evaluates every export, also the lazy ones, and with them
 * a second undici of Node's own: 0.8 MB of source text, and what is compiled of it, for as long as the agent runs.
 */
export const { createServer, request } = process.getBuiltinModule('node:http');
