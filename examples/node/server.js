// A server that ends as one should: on SIGTERM it takes no new connection, answers what it has, and leaves.
"use strict";

const http = require("node:http");
const fs = require("node:fs");

const greeting = fs.readFileSync(`${__dirname}/greeting.txt`, "utf8").trim();

const server = http.createServer((request, response) => {
  if (request.url === "/health") {
    response.end("well\n");
    return;
  }
  response.setHeader("x-version", process.env.CUTOVER_VERSION ?? "unknown");
  if (request.method === "POST") {
    request.pipe(response);
    return;
  }
  response.end(`${greeting}\n`);
});

server.listen(Number(process.env.PORT), "127.0.0.1");

process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
